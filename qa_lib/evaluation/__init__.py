"""The score of a setting over the search set."""

from qa_lib.evaluation.enumeration import enumerate_settings
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.evaluation.live import LiveEvaluator

__all__ = [
    "Evaluation",
    "Evaluator",
    "LiveEvaluator",
    "enumerate_settings",
]
