"""The fake quantizers, and the model that has them behind its layers."""

from qa_lib.quantization.activation_statistics import ActivationStatistics, LayerStatistics
from qa_lib.quantization.calibration_record import CalibrationRecord
from qa_lib.quantization.predicates import (
    all_of,
    any_of,
    conv2d_predicate,
    linear_predicate,
    name_matches,
    not_,
)
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit_checkpoint import load_toolkit_checkpoint

__all__ = [
    "ActivationStatistics",
    "CalibrationRecord",
    "LayerStatistics",
    "QuantizedActivationsModel",
    "TensorQuantizer",
    "all_of",
    "any_of",
    "conv2d_predicate",
    "linear_predicate",
    "load_toolkit_checkpoint",
    "name_matches",
    "not_",
]
