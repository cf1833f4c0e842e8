"""How few bits can each layer of a trained model get by with?

In the examples, ``qmodel`` is the calibrated model of ``workload = load_workload("fashion_mnist_convnet")``, which has five
quantizers, ``evaluator`` measures it on 256 ``images`` with their ``labels``, ``problem`` is what a search solves, and
``exploration`` and ``table`` are what ``explore`` and ``sensitivity`` found; ``model`` has no quantizers yet.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qa_lib.version import __version__

if TYPE_CHECKING:
    from qa_lib.archive import Archive
    from qa_lib.calibration import calibrate
    from qa_lib.errors import QAError, QAWarning
    from qa_lib.evaluation import Evaluator
    from qa_lib.forward import IncrementalForward
    from qa_lib.quantization import (
        QuantizedActivationsModel,
        all_of,
        any_of,
        conv2d_predicate,
        linear_predicate,
        load_toolkit_checkpoint,
        name_matches,
        not_,
    )
    from qa_lib.search import Exploration, LayerwiseQuantizationProblem, explore
    from qa_lib.sensitivities import sensitivity
    from qa_lib.workloads import Workload, load_workload, register_workload

# Where each name is: looked up when it is asked for, so that what needs no torch does not wait for it.
_FOLDERS = {
    "Archive": "archive",
    "Evaluator": "evaluation",
    "Exploration": "search",
    "IncrementalForward": "forward",
    "LayerwiseQuantizationProblem": "search",
    "QAError": "errors",
    "QAWarning": "errors",
    "QuantizedActivationsModel": "quantization",
    "Workload": "workloads",
    "all_of": "quantization",
    "any_of": "quantization",
    "calibrate": "calibration",
    "conv2d_predicate": "quantization",
    "explore": "search",
    "linear_predicate": "quantization",
    "load_toolkit_checkpoint": "quantization",
    "load_workload": "workloads",
    "name_matches": "quantization",
    "not_": "quantization",
    "register_workload": "workloads",
    "sensitivity": "sensitivities",
}

__all__ = [
    "Archive",
    "Evaluator",
    "Exploration",
    "IncrementalForward",
    "LayerwiseQuantizationProblem",
    "QAError",
    "QAWarning",
    "QuantizedActivationsModel",
    "Workload",
    "__version__",
    "all_of",
    "any_of",
    "calibrate",
    "conv2d_predicate",
    "explore",
    "linear_predicate",
    "load_toolkit_checkpoint",
    "load_workload",
    "name_matches",
    "not_",
    "register_workload",
    "sensitivity",
]


def __getattr__(name: str) -> Any:
    if name not in _FOLDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FOLDERS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
