"""What a setting will probably score, at once: to look at while a hand still moves."""

from collections.abc import Iterable, Sequence

import numpy as np

from qa_lib.bit_widths import Widths
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.search.score_model import ScoreModel
from qa_lib.sensitivities.table import SensitivityTable

# Measurements that it learns from: those nearest to where the hand is. The time to learn grows with their cube.
_MOST_LEARNED = 150


class ScorePredictor:
    """Guesses scores from what was measured, with an ``ScoreModel``. Guesses only: show them as such.

    ``learn`` may run in one thread while others ask ``predict``.

    Args:
        table: The sensitivities.
        float_score: The float model's.
        worst: The score of what is worth nothing.
        best: The highest score there is.

    Example:
        >>> predictor = ScorePredictor(table, exploration.float_evaluation.score)
        >>> predictor.learn(exploration.measured, around=(8,) * 5)
        >>> predictor.predict([(7,) * 5]).shape
        (1,)
    """

    def __init__(
        self, table: SensitivityTable, float_score: float, *, worst: float = 0.0, best: float = 1.0
    ) -> None:
        self.table, self.float_score, self._ends = table, float_score, (worst, best)
        self._model: ScoreModel | None = None

    def learn(self, evaluations: Iterable[Evaluation], around: Widths) -> None:
        """Learns from the complete ones of ``evaluations``, the nearest to the setting ``around`` if there are many."""
        known = [e for e in evaluations if e.complete and self._covers(e.bit_widths)]
        here = self._numbers([around])
        distance = np.abs(self._numbers([e.bit_widths for e in known]) - here).sum(axis=1)
        nearest = [known[index] for index in np.argsort(distance, kind="stable")[:_MOST_LEARNED]]
        worst, best = self._ends
        model = ScoreModel(self.table, self.float_score, worst=worst, best=best)
        model.fit([e.bit_widths for e in nearest], [e.score for e in nearest], [False] * len(nearest))
        self._model = model

    def predict(self, settings: Sequence[Widths]) -> np.ndarray:
        """The score to expect of each setting, shape ``(settings,)``; NaN before anything was learned, and for
        widths that the sensitivities do not cover."""
        expected = np.full(len(settings), np.nan)
        covered = [index for index, widths in enumerate(settings) if self._covers(widths)]
        if self._model is not None and covered:
            expected[covered] = self._model.predict([settings[index] for index in covered])
        return expected

    def _covers(self, widths: Widths) -> bool:
        return all(num_bits is None or num_bits in self.table.widths for num_bits in widths)

    def _numbers(self, settings: Sequence[Widths]) -> np.ndarray:
        """Widths as numbers; float is one step above the largest."""
        above = self.table.widths[-1] + 1
        rows = [[above if num_bits is None else num_bits for num_bits in widths] for widths in settings]
        return np.array(rows, float).reshape(-1, len(self.table.names))
