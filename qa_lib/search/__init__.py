"""Which settings are worth it: the problem, its operators, budgets, and ``explore``."""

from qa_lib.search.archived import archived_exploration
from qa_lib.search.budgets import FullPasses, Seconds, StalledHypervolume
from qa_lib.search.exploration import Exploration
from qa_lib.search.exploring import explore
from qa_lib.search.mutation import StepMutation
from qa_lib.search.problem import LayerwiseQuantizationProblem
from qa_lib.search.screening import ScreenedNSGA2
from qa_lib.search.seeding import SensitivitySampling

__all__ = [
    "Exploration",
    "FullPasses",
    "LayerwiseQuantizationProblem",
    "ScreenedNSGA2",
    "Seconds",
    "SensitivitySampling",
    "StalledHypervolume",
    "StepMutation",
    "archived_exploration",
    "explore",
]
