"""How few bits can each layer of a trained model get by with?"""

from qa_lib.activation_statistics import ActivationStatistics, LayerStatistics
from qa_lib.archive import Archive
from qa_lib.calibration import calibrate
from qa_lib.calibration_methods import register_calibration_method
from qa_lib.calibration_record import CalibrationRecord
from qa_lib.costs import WeightedBits
from qa_lib.enumeration import enumerate_settings
from qa_lib.errors import QAError, QAWarning
from qa_lib.evaluation import Evaluation
from qa_lib.evaluator import Evaluator
from qa_lib.exploration import Exploration
from qa_lib.incremental import IncrementalForward
from qa_lib.operators import SensitivitySampling, StepMutation
from qa_lib.predicates import all_of, any_of, conv2d_predicate, linear_predicate, name_matches, not_
from qa_lib.problem import LayerwiseQuantizationProblem
from qa_lib.quantized_model import QuantizedActivationsModel
from qa_lib.screening import ScreenedNSGA2
from qa_lib.search import explore
from qa_lib.sensitivity import SensitivityTable, sensitivity
from qa_lib.statistics_collection import collect_statistics
from qa_lib.stopping import FullPasses, Seconds, StalledHypervolume
from qa_lib.tensor_quantizer import TensorQuantizer
from qa_lib.workloads import Workload, load_workload, register_workload

__version__ = "0.1.0"

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
