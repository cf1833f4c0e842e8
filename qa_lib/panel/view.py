"""What a session tells those that show it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.next_steps import NextSteps
from qa_lib.search.pareto import Standing
from qa_lib.sensitivities.table import SensitivityTable


class View:
    """Shows nothing: what to override. Each method may be called on any thread."""

    def show_setting(self, bit_widths: Widths) -> None:
        """The setting was changed by something else than a hand on a slider."""

    def show_elsewhere(self, text: str) -> None:
        """The model has widths that the sliders cannot show, in words; empty once it has those that they show."""

    def show_measured(self, evaluation: Evaluation, standing: Standing) -> None:
        """The setting has been measured."""

    def show_predicted(self, bit_widths: Widths, score: float, state: str, error: float) -> None:
        """A setting that is not measured: what to expect of it, what is happening to it, and how far off such guesses were so far. NaN
        where nobody knows."""

    def show_float(self, evaluation: Evaluation) -> None:
        """The model is another by now, calibrated again say, and so is the float model: what was measured before counts no more."""

    def show_points(self) -> None:
        """The session's ``points`` have changed."""

    def show_sensitivities(self, table: SensitivityTable) -> None:
        """How much each layer minds each width is known."""

    def show_steps(self, steps: NextSteps) -> None:
        """What to do next is known."""

    def show_held(self, side: str, evaluation: Evaluation, by_class: Tensor | None) -> None:
        """A setting is held as ``side`` of a comparison; as ``"now"``, the present one."""

    def show_error(self, error: BaseException) -> None:
        """Something went wrong that nobody waits for."""

    def show_preparing(self, text: str) -> None:
        """What is being prepared, and how far that is; empty when it is done."""

    def show_search(self, text: str, share: float | None) -> None:
        """How a search that was begun from here goes: in words, and as a share of it; None if none runs."""

    def show_message(self, text: str) -> None:
        """News; empty takes away what was there."""


class Views:
    """Several views, told together: it has the methods of a ``View``."""

    def __init__(self) -> None:
        self.all: list[View] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def tell(*given: Any) -> None:
            for view in self.all:
                getattr(view, name)(*given)

        return tell
