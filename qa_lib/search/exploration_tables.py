"""The tables of an exploration, and the file that its front is written to."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from qa_lib.bit_widths import FACTS, width_columns
from qa_lib.costs import Cost, distinct, parts, total_bits
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.tables import evaluation_frame, write_csv
from qa_lib.metrics import Scale
from qa_lib.search.pareto import feasible_front
from qa_lib.search.yardstick import Yardstick


class ExplorationTables:
    """The part of an ``Exploration`` that lays out what it holds."""

    names: tuple[str, ...]
    min_score: float
    cost: Cost
    other_costs: tuple[Cost, ...]
    candidates: tuple[Evaluation, ...]
    archived: tuple[Evaluation, ...]
    float_evaluation: Evaluation
    uniform_evaluations: dict[int, Evaluation]

    def expected_scores(self, evaluations: Sequence[Evaluation]) -> list[float]:
        """As of ``Exploration``."""
        raise NotImplementedError

    @property
    def yardstick(self) -> Yardstick:
        """As of ``Exploration``."""
        raise NotImplementedError

    @property
    def front_evaluations(self) -> list[Evaluation]:
        """As of ``Exploration``."""
        raise NotImplementedError

    @cached_property
    def measured(self) -> tuple[Evaluation, ...]:
        """The candidates that were shown the whole search set."""
        return tuple(e for e in self.candidates if e.complete)

    @cached_property
    def stopped(self) -> tuple[Evaluation, ...]:
        """The candidates that were stopped early: they have a bound, but no accuracy."""
        return tuple(e for e in self.candidates if not e.complete)

    @property
    def scale(self) -> Scale:
        """How the score is called and written."""
        return self.float_evaluation.scale

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """One row for each measured setting, in order: the score by its name (``accuracy``, 0 to 1), ``total_bits``,
        ``mean_bits``, ``feasible`` (measured, and expected, to have what is asked for), ``seconds``, then one column of widths for each
        quantizer."""
        frame = self._frame(self.measured)
        at = frame.columns.get_loc("mean_bits") + 1
        frame.insert(at, "feasible", [self.yardstick.feasible(e, self.min_score) for e in self.measured])
        frame.insert(at + 1, "seconds", [evaluation.seconds for evaluation in self.measured])
        return frame

    @cached_property
    def front(self) -> pd.DataFrame:
        """The recommended settings: the feasible ones that no other dominates in what the search compared ``by``, of all that was ever
        measured (the archive's included), cheapest first: the score by its name as it was measured (``accuracy``, 0 to 1; higher is
        better), ``expected_score`` (what it is worth without luck, an estimate, where something says so), ``total_bits`` (lower is better),
        ``mean_bits``, the cost by its name if that is not the total bits, ``other_costs`` by theirs, then one column of widths for each
        quantizer. Settings that tie are all kept."""
        return self._front_frame(self.front_evaluations)

    @cached_property
    def front_as_measured(self) -> pd.DataFrame:
        """The feasible settings that no other dominates in the score as it was measured: the luckier the longer the search. Columns as of
        ``front``."""
        return self._front_frame(feasible_front((*self.measured, *self.archived), self.min_score, self.cost))

    def baselines(self) -> pd.DataFrame:
        """The float model and the uniform widths, as rows of the same columns as ``front``; the score of those
        that were stopped early is missing."""
        frame = self._frame([self.float_evaluation, *self.uniform_evaluations.values()])
        frame.index = ["float", *(f"{num_bits} bits" for num_bits in self.uniform_evaluations)]
        return frame

    @property
    def cost_column(self) -> str:
        """What tables call the cost: its name in one word, with "_cost" where another column is called so."""
        return "total_bits" if parts(self.cost)[0] == total_bits else next(iter(self.costs_shown))

    @property
    def costs_shown(self) -> dict[str, Cost]:
        """Column -> the cost that it says, of those that tables have beside ``total_bits``: the one that was minimised first."""
        taken = FACTS.union(width_columns(self.names, [self.scale.column]), [self.scale.column])
        found: dict[str, Cost] = {}
        for cost in distinct((*parts(self.cost), *self.other_costs)):
            name = "_".join(cost.name.split())
            while cost != total_bits and (name in taken or name in found):
                name += "_cost"
            if cost != total_bits:
                found[name] = cost
        return found

    def to_csv(self, path: str | Path) -> None:
        """Writes ``front`` to ``path``; the columns are those of the frame.

        Raises:
            ReportError: The file cannot be written.
        """
        write_csv(self.front, path, "the front")

    def _front_frame(self, evaluations: Sequence[Evaluation]) -> pd.DataFrame:
        frame, expected = self._frame(evaluations), self.expected_scores(evaluations)
        if not np.isnan(expected).all() or not len(evaluations):
            frame.insert(1, "expected_score", np.array(expected, float))
        return frame

    def _frame(self, evaluations: Iterable[Evaluation]) -> pd.DataFrame:
        return evaluation_frame(list(evaluations), self.names, self.scale, self.costs_shown)
