"""Whether what is given as a quantized model is one."""

from typing import Any

from qa_lib.checks import check_kind
from qa_lib.errors import DataError
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


def check_qmodel(given: Any) -> None:
    """Raises ``DataError`` unless ``given`` is a ``QuantizedActivationsModel`` whose hooks are there."""
    give = "the model with its fake quantizers: QuantizedActivationsModel(model, predicate), or adopt(model) of one of pytorch-quantization"
    check_kind("qmodel", given, QuantizedActivationsModel, DataError, give)
    given.check_usable()
