"""How few bits can each layer of a trained model get by with?"""

from qa_lib.archive import Archive
from qa_lib.calibration.calibrating import calibrate
from qa_lib.calibration.collection import collect_statistics
from qa_lib.calibration.methods import register_calibration_method
from qa_lib.costs import WeightedBits
from qa_lib.errors import QAError, QAWarning
from qa_lib.evaluation.enumeration import enumerate_settings
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.forward.incremental import IncrementalForward
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
from qa_lib.search.budgets import FullPasses, Seconds, StalledHypervolume
from qa_lib.search.exploration import Exploration
from qa_lib.search.exploring import explore
from qa_lib.search.operators import SensitivitySampling, StepMutation
from qa_lib.search.problem import LayerwiseQuantizationProblem
from qa_lib.search.screening import ScreenedNSGA2
from qa_lib.sensitivities.measuring import SensitivityTable, sensitivity
from qa_lib.version import __version__
from qa_lib.workloads.workload import Workload, load_workload, register_workload

__all__ = [
    "ActivationStatistics",
    "Archive",
    "CalibrationRecord",
    "Evaluation",
    "Evaluator",
    "Exploration",
    "FullPasses",
    "IncrementalForward",
    "LayerStatistics",
    "LayerwiseQuantizationProblem",
    "QAError",
    "QAWarning",
    "QuantizedActivationsModel",
    "ScreenedNSGA2",
    "Seconds",
    "SensitivitySampling",
    "SensitivityTable",
    "StalledHypervolume",
    "StepMutation",
    "TensorQuantizer",
    "WeightedBits",
    "Workload",
    "__version__",
    "all_of",
    "any_of",
    "calibrate",
    "collect_statistics",
    "conv2d_predicate",
    "enumerate_settings",
    "explore",
    "linear_predicate",
    "load_workload",
    "name_matches",
    "not_",
    "register_calibration_method",
    "register_workload",
    "sensitivity",
]
