"""Each layer at each width by itself."""

from qa_lib.sensitivities.measuring import sensitivity
from qa_lib.sensitivities.table import SensitivityTable

__all__ = [
    "SensitivityTable",
    "sensitivity",
]
