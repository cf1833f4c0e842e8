"""Each layer at each width by itself."""

from qa_lib.sensitivities.measuring import SensitivityTable, sensitivity

__all__ = [
    "SensitivityTable",
    "sensitivity",
]
