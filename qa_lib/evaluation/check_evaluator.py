"""Whether what is given as an evaluator is one, and of the right model."""

from typing import Any

from qa_lib.checks import kind_of
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.quantization.quantized_model import QuantizedActivationsModel


def check_evaluator(given: Any, qmodel: QuantizedActivationsModel | None = None) -> Evaluator:
    """``given`` if it is an ``Evaluator``, of ``qmodel`` unless that is None; raises ``DataError`` if not."""
    if not isinstance(given, Evaluator):
        raise DataError(
            f"evaluator is {kind_of(given)}; give an Evaluator, which knows its quantized model: Evaluator(qmodel, "
            "images, labels)"
        )
    if qmodel is not None and qmodel is not given.qmodel:
        raise DataError(
            "the evaluator measures another quantized model than the one given: make one for it, "
            "Evaluator(qmodel, images, labels)"
        )
    return given
