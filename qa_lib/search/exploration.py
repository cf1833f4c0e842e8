"""Everything that one search measured, and what follows from it."""

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from qa_lib.bit_widths import BitWidths
from qa_lib.checks import shown
from qa_lib.costs import Cost, amounts, distinct, named_cost, parts, same, total_bits
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation, images_saved
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.metrics import Metric
from qa_lib.search.applying import apply_setting
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.checking import check_front, check_holdout
from qa_lib.search.expected import ExpectedScore, cross_fitted
from qa_lib.search.exploration_tables import ExplorationTables
from qa_lib.search.pareto import Hypervolume, feasible_front
from qa_lib.search.provenance import Provenance
from qa_lib.search.summary import summarize
from qa_lib.search.yardstick import Yardstick, yardstick
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space


@dataclass(frozen=True)
class Exploration(ExplorationTables):
    """Everything that one search measured, and what follows from it.

    Attributes:
        names: The quantizers, in the order of every list of widths.
        candidates: Each setting that was asked for, once, in that order: measured, or stopped early.
        archived: What the archive knew beside that: complete, and within the limits; of much what is on the front or near it.
        float_evaluation: The model with every quantizer switched off.
        uniform_evaluations: Width -> the model with this one width everywhere (wherever it is allowed); those that are infeasible were
            stopped early like any other.
        min_score: Score below which a setting is infeasible; minus infinity if none was asked for.
        num_bits_limits: Smallest and largest width that the search could use.
        space: Which widths each quantizer could have, and which shared one; None for all within the limits.
        interrupted: Whether the search was stopped before its budget was used up.
        sensitivities: What the search began with; None if it did not ask for them.
        full_passes: What the search has cost: images that were shown, in passes over the search set, with those
            for the float model and the sensitivities.
        cost: What was minimised beside the error.
        other_costs: What tables and views show beside it.
        by: What the settings were compared by, ``"divergence"`` or ``"score"``.
        metric: What makes scores of sums; None if nobody recorded it.
        made: How it was made: model, calibration, data, settings, versions; None if nobody recorded it.

    Raises:
        SearchError: The evaluations were not all measured under one fingerprint.
    """

    names: tuple[str, ...]
    candidates: tuple[Evaluation, ...] = field(repr=False)
    float_evaluation: Evaluation
    uniform_evaluations: dict[int, Evaluation] = field(repr=False)
    min_score: float
    num_bits_limits: tuple[int, int]
    interrupted: bool = False
    archived: tuple[Evaluation, ...] = field(default=(), repr=False)
    sensitivities: SensitivityTable | None = field(default=None, repr=False)
    full_passes: float = 0.0
    cost: Cost = field(default=total_bits, repr=False)
    other_costs: tuple[Cost, ...] = field(default=(), repr=False)
    made: Provenance | None = field(default=None, repr=False, compare=False)
    by: str = "score"
    metric: Metric | None = field(default=None, repr=False, compare=False)
    space: Space | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost", named_cost(self.cost))
        object.__setattr__(self, "other_costs", tuple(map(named_cost, self.other_costs)))
        evaluations = (
            self.float_evaluation,
            *self.candidates,
            *self.archived,
            *self.uniform_evaluations.values(),
        )
        if len({evaluation.fingerprint for evaluation in evaluations} - {""}) > 1:
            raise SearchError(
                "these evaluations were measured on different models, images or machines (Evaluation.fingerprint), or before and "
                "after a calibration: measure them all again with one evaluator"
            )

    @property
    def min_accuracy(self) -> float:
        """``min_score``, as it is called where the score is an accuracy."""
        return self.min_score

    @property
    def answered(self) -> int:
        """How many of the candidates the archive answered; the others were measured."""
        return sum(evaluation.answered for evaluation in self.candidates)

    @property
    def images_saved(self) -> float:
        """The share of images, 0 to 1, that stopping early left out."""
        return images_saved(self.candidates)

    @cached_property
    def front_evaluations(self) -> list[Evaluation]:
        """The settings of ``front``, in its order."""
        return feasible_front(self._known, self.min_score, self.cost, self.yardstick)

    @property
    def _known(self) -> tuple[Evaluation, ...]:
        return *self.measured, *self.archived

    @cached_property
    def yardstick(self) -> Yardstick:
        """What the settings are compared by."""
        return yardstick(self.by, self.float_evaluation, self._known, self._worth_nothing, self.metric)

    @cached_property
    def _expected(self) -> ExpectedScore:
        return ExpectedScore.of(self.float_evaluation, self._known, self._worth_nothing, self.metric)

    def expected_scores(self, evaluations: Sequence[Evaluation]) -> list[float]:
        """What each of ``evaluations`` is worth without the luck of the search set, in the unit of the score: an estimate, from its
        divergence, or, where the metric has none, by halves of the batches (``cross_fitted``). NaN where neither is known."""
        if any(e.divergences for e in evaluations):
            curve = self._expected
            return [curve.of_setting(e) for e in evaluations]
        if self.metric is None:
            return [math.nan] * len(evaluations)
        return cross_fitted(evaluations, self._known, self.float_evaluation, self.metric, self.cost)

    @property
    def nearest(self) -> Evaluation:
        """The setting with the highest score that is known, the cheapest of them on a tie: where to go on from if nothing
        is feasible. If a search was interrupted before it had measured one to the end, the most promising.

        Raises:
            SearchError: The search was interrupted before anything was finished.
        """
        known = (*self.measured, *self.archived) or self.candidates
        if not known:
            raise SearchError("the search was interrupted before anything was measured: start it again")
        return max(known, key=lambda e: (self._surely(e), -self.cost(e.bit_widths)))

    @property
    def shortfall(self) -> float:
        """How much score the nearest setting lacks, or at least lacks if it was not measured to the end; 0 if
        there is a feasible one."""
        return max(0.0, self.min_score - self._surely(self.nearest, self.nearest.upper_bound))

    def _surely(self, evaluation: Evaluation, score: float | None = None) -> float:
        """The score, or the expected one if that is less: a setting is feasible if both are."""
        score = evaluation.estimate if score is None else score
        expected = self.yardstick.score(evaluation) if evaluation.complete else math.nan
        return score if math.isnan(expected) else min(score, expected)

    def layers_to_relax(self) -> pd.DataFrame:
        """Which layers of the nearest setting disturb the output most, by the sensitivities: those to give more bits,
        above the upper limit if they are there. An estimate.

        Returns:
            One row for each quantizer, the most disturbing first: ``layer``, ``num_bits`` (what it has), ``share`` (of
            the setting's predicted divergence, 0 to 1).

        Raises:
            SearchError: The search had no sensitivities.
        """
        if self.sensitivities is None:
            raise SearchError(
                "the search had no sensitivities to tell which layers to relax: explore(..., "
                "sensitivities=sensitivity(qmodel, images))"
            )
        table, widths = self.sensitivities, self.nearest.bit_widths
        own = table.divergence[np.arange(len(widths)), table.columns(np.array(widths))]
        frame = pd.DataFrame({"layer": self.names, "num_bits": widths, "share": own / (own.sum() or 1.0)})
        return frame.sort_values("share", ascending=False, kind="stable", ignore_index=True)

    @property
    def hypervolume_box(self) -> Hypervolume:
        """The box that hypervolumes of this search are shares of."""
        space = self.space or Space.of(self.names, self.num_bits_limits)
        return Hypervolume.of(self.floor, self.float_evaluation.score, self.cost, space)

    @property
    def floor(self) -> float:
        """``min_score``; if none was asked for, and the metric knows none that is worth nothing, that of the smallest width that was
        measured everywhere."""
        return self.min_score if self.min_score > -math.inf else self._worth_nothing

    @property
    def _worth_nothing(self) -> float:
        if self.scale.worst > -math.inf:
            return self.scale.worst
        scores = [e.score for _, e in sorted(self.uniform_evaluations.items()) if e.complete]
        return next((score for score in scores if score > -math.inf), self.float_evaluation.score - 1.0)

    @cached_property
    def hypervolume(self) -> float:
        """The share of the box that the front dominates (``Hypervolume``), by what its settings are compared by; higher is better."""
        worth = self.yardstick.score
        return self.hypervolume_box(
            (worth(e), *amounts(self.cost, e.bit_widths)) for e in self.front_evaluations
        )

    def counted_by(self, cost: Cost | str) -> "Exploration":
        """The same measurements with another cost, or one of the search's own by name: their front by that, without a forward pass. Settings that were stopped, for they could not matter
        to the front that was searched for, are still not on it.

        Example:
            >>> exploration.counted_by(WeightedBits((2.0, 1.0, 1.0, 1.0, 1.0))).cost_column
            'weighted_bits'
        """
        known = {each.name: each for each in (*parts(self.cost), *self.other_costs)}
        if isinstance(cost, str):
            if cost.replace("_", " ") not in known:
                raise SearchError(
                    f"cost is {shown(cost)}; of the search's own there are {', '.join(known)}: give another as an object, BitOperations.of(qmodel) say"
                )
            cost = known[cost.replace("_", " ")]
        others = [each for each in distinct((*parts(self.cost), *self.other_costs)) if not same(each, cost)]
        return replace(self, cost=cost, other_costs=tuple(others))

    def check(self, holdout: Evaluator, *, level: float = 0.95) -> CheckedFront:
        """What the front is worth on data that chose nothing: each of its settings, the float model and the uniform widths, measured on a
        hold-out set, with intervals for what each loses that hold for all of them together.

        Args:
            holdout: An evaluator of the same model and metric on other items than the search set's; what it measures is kept in its archive.
            level: How sure all intervals together are to hold the true drops, 0.5 to 0.999.

        Raises:
            SearchError: There is no front, or ``level`` is no such share.
            DataError: ``holdout`` is of another model or metric, shares items with the search set, holds items several times, or is too
                small. What else has chosen (items that ``amax`` was calibrated or sensitivities were measured on) nobody sees.

        Example:
            >>> checked = exploration.check(Evaluator(qmodel, workload.holdout_images, workload.holdout_labels))
            >>> checked.frame.columns[1:5].tolist()
            ['expected_score', 'holdout_score', 'holdout_drop', 'low']
        """
        check_holdout(holdout, self.names, self.scale, self.made)
        number = isinstance(level, numbers.Real) and not isinstance(level, bool)
        if not number or not 0.5 <= level <= 0.999:
            raise SearchError(f"level is {shown(level)}; it is a share from 0.5 to 0.999, 0.95 say")
        if not self.front_evaluations:
            raise SearchError(
                "nothing that was measured is feasible, so that there is no front to check: ask for less, or search on"
            )
        return check_front(
            self.front_evaluations,
            self.expected_scores(self.front_evaluations),
            self.float_evaluation,
            self.uniform_evaluations,
            holdout,
            self.names,
            self.cost,
            self.costs_shown,
            float(level),
        )

    def apply(self, setting: Evaluation | BitWidths, toolkit_model: nn.Module | Mapping[str, Any]) -> None:
        """Writes a setting back into a plain model of NVIDIA's toolkit, in place: widths, signs and ``amax``, as they were measured. From there on its own evaluation
        loop gives the score that was measured here, without this library. To the bit that is on the same batches, in the same memory layout and on one thread
        (``Evaluator(..., batch_size=256, channels_last=False, hardest_first=False)`` takes those of a plain loop); otherwise torch adds up in another order, and an item may differ. A quantizer of the toolkit whose grid is unsigned raises an error where ours counts negative
        values as 0.

        Args:
            setting: One of this search's evaluations, a row of its tables, or a width for each quantizer; None switches a quantizer off.
            toolkit_model: The model that was adopted, after ``remove()``, or one that was made like it; or a mapping from the names of the quantizers to those of your own,
                ``{"input": quantizer, ...}``, where hooks call them.

        Raises:
            LayerError: It has no quantizer of one of the names. Nothing is changed then.
            SearchError: The setting is of another search, or the exploration does not know its quantizers (``made``).
            BitWidthError: The widths are none of this model.

        Example:
            >>> from pytorch_quantization.nn import TensorQuantizer as OfTheToolkit
            >>> mine = {name: OfTheToolkit() for name in exploration.names}
            >>> exploration.apply([8, 4, 4, 4, 8], mine)
            >>> [quantizer.num_bits for quantizer in mine.values()]
            [8, 4, 4, 4, 8]
        """
        apply_setting(self, setting, toolkit_model)

    def summary(self, checked: CheckedFront | None = None) -> str:
        """What was searched, on what, what it cost, what was found, and how sure that is: five sentences that could stand in a paper.

        Args:
            checked: What ``check`` returned, if the front was checked.
        """
        return summarize(self, checked)
