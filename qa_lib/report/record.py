"""What the page about a search shows: its data step and the record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex

from qa_lib.bit_widths import width_columns
from qa_lib.costs import counted_in, known_amount, name_and_unit, same
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.plots import style
from qa_lib.report.facts import Fact, report_facts
from qa_lib.report.view import View, view_of
from qa_lib.search.check_exploration import check_is_exploration, check_one_cost
from qa_lib.search.checked_front import CheckedFront, check_checked
from qa_lib.search.exploration import Exploration

# Points beside the front; a browser draws each as an element of its own.
MOST_OTHERS = 5_000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Point(NamedTuple):
    """A measured setting, in as few characters as it can be said.

    Attributes:
        widths: One digit for each quantizer, base 36; 0 is float.
        score: What it scored.
        total_bits: The sum of the widths.
        cost: What the search minimised; None of the float model where it is not known.
        others: What else it costs.
    """

    widths: str
    score: float
    total_bits: int
    cost: Any
    others: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        title: What the page is called.
        names: The quantizers, in order.
        columns: What tables call the columns of their widths.
        num_bits_limits: Smallest and largest width of the search.
        search_images: Images that each point was measured on.
        min_score: Score below which a setting is infeasible; None if none was asked for.
        score: What scores are called.
        score_unit: "%" of shares, "dB", or "".
        score_column: The same in a table.
        cost: What ``Point.cost`` is called, with its unit.
        cost_unit: What follows an amount of it.
        cost_column: The same in a table.
        other_costs: What ``Point.others`` are called, with their units, and in a table.
        baseline: The float model.
        front: All of it, cheapest first.
        held_out: Of each point of the front, if it was checked on a hold-out set: score there, drop from the float model there, and the ends of
            that drop's interval.
        held_out_items: Size of the hold-out set.
        sureness: How sure all intervals together are: "95%".
        expected: The score to expect of each point of the front, an estimate; empty if nothing says so.
        by: What the points were compared by, ``"divergence"`` or ``"score"``.
        summary: The search in five sentences.
        dominated: Feasible points that are not on the front, the nearest to it first.
        infeasible: Points below ``min_score``, the nearest to it first.
        not_shown: How many of ``dominated`` and of ``infeasible`` were left out.
        view: The part of the plane of cost and score that is shown.
        uniform: Points with one width everywhere that were measured to the end.
        uniform_num_bits: Those widths, one for each point of ``uniform``.
        uniform_stopped: Uniform widths that were stopped early.
        nearest: The best point if nothing is feasible, otherwise None.
        shortfall: How much score it lacks, measured or expected.
        sensitivities: ``widths``, ``divergence`` and ``images`` of the table, or None.
        facts: How it was made.
        width_colours: A colour for each width from limit to limit.
    """

    title: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    num_bits_limits: tuple[int, int]
    search_images: int
    min_score: float | None
    score: str
    score_unit: str
    score_column: str
    cost: str
    cost_unit: str
    cost_column: str
    other_costs: tuple[tuple[str, str], ...]
    baseline: Point
    front: tuple[Point, ...]
    held_out: tuple[tuple[float, float, float, float], ...]
    held_out_items: int
    sureness: str
    expected: tuple[float, ...]
    by: str
    summary: str
    dominated: tuple[Point, ...]
    infeasible: tuple[Point, ...]
    not_shown: tuple[int, int]
    view: View
    uniform: tuple[Point, ...]
    uniform_num_bits: tuple[int, ...]
    uniform_stopped: tuple[int, ...]
    nearest: Point | None
    shortfall: float
    sensitivities: dict[str, Any] | None
    facts: tuple[Fact, ...]
    width_colours: tuple[str, ...]


def report(
    exploration: Exploration, checked: CheckedFront | None = None, *, most_others: int = MOST_OTHERS
) -> Report:
    """The data step of ``write_page``.

    Args:
        exploration: What to show.
        checked: Its front on a hold-out set.
        most_others: Points beside the front to keep at most, those that lack the least score to be on it.

    Raises:
        SearchError: Nothing was measured to the end, or ``checked`` is another front.
    """
    check_is_exploration(exploration)
    check_one_cost("the page", exploration.cost)
    check_checked(checked, exploration.front_evaluations)
    measured = (*exploration.archived, *exploration.measured)
    known = {e.bit_widths: e for e in measured if e.score > -math.inf}  # endless errors have no place
    if not known:
        raise SearchError(
            "there is nothing to report: the search ended before anything was measured to the end; start it again"
        )

    more = {
        column: cost for column, cost in exploration.costs_shown.items() if not same(cost, exploration.cost)
    }

    def point(evaluation: Evaluation) -> Point:
        amounts = [known_amount(each, evaluation.bit_widths) for each in (exploration.cost, *more.values())]
        cost, *others = (None if math.isnan(each) else each for each in amounts)
        widths = "".join(_DIGITS[num_bits or 0] for num_bits in evaluation.bit_widths)
        return Point(widths, evaluation.score, evaluation.total_bits, cost, tuple(others))

    images, scale = exploration.float_evaluation.search_images, exploration.scale
    front = tuple(map(point, exploration.front_evaluations))
    expected = exploration.expected_scores(exploration.front_evaluations)
    uniform = {n: e for n, e in exploration.uniform_evaluations.items() if e.complete and e.score > -math.inf}
    # What lies in the same place as a point of the front would hide it.
    on_front = {(p.cost, p.score) for p in front}
    others = [p for p in map(point, known.values()) if (p.cost, p.score) not in on_front]
    kept = _nearest_to_front(others, front, exploration.min_score)[:most_others]
    feasible, infeasible = _split(kept, exploration.min_score)
    every = _split(others, exploration.min_score)
    lower, upper = exploration.num_bits_limits
    colours = mpl.colormaps[style.BIT_WIDTH_COLOURS].resampled(upper - lower + 1)
    table = exploration.sensitivities
    model = f"{exploration.made.model}: " if exploration.made else ""
    return Report(
        title=f"{model}{scale.name} against {exploration.cost.name}",
        names=exploration.names,
        columns=width_columns(exploration.names, [scale.column]),
        num_bits_limits=exploration.num_bits_limits,
        search_images=images,
        min_score=exploration.min_score if exploration.min_score > scale.worst else None,
        score=scale.name,
        score_unit=scale.unit,
        score_column=scale.column,
        cost=name_and_unit(exploration.cost),
        cost_unit=counted_in(exploration.cost),
        cost_column=exploration.cost_column,
        other_costs=tuple((name_and_unit(cost), column) for column, cost in more.items()),
        baseline=point(exploration.float_evaluation),
        front=front,
        expected=tuple(expected) if np.isfinite(expected).all() else (),
        held_out=()
        if checked is None
        else tuple(
            zip([e.score for e in checked.held_out], checked.drops, checked.low, checked.high, strict=True)
        ),
        held_out_items=0 if checked is None else checked.float_held_out.search_images,
        sureness="" if checked is None else checked.sureness,
        by=exploration.by,
        summary=exploration.summary(checked),
        dominated=feasible,
        infeasible=infeasible,
        view=_view(exploration, [*front, *kept, *map(point, uniform.values())]),
        not_shown=(len(every[0]) - len(feasible), len(every[1]) - len(infeasible)),
        uniform=tuple(map(point, uniform.values())),
        uniform_num_bits=tuple(uniform),
        uniform_stopped=tuple(n for n, e in exploration.uniform_evaluations.items() if not e.complete),
        nearest=None if front else point(exploration.nearest),
        shortfall=exploration.shortfall,
        sensitivities=None if table is None else {
            "widths": table.widths,
            "divergence": [[float(f"{value:.4g}") for value in row] for row in table.divergence.tolist()],
            "images": table.images,
        },
        facts=tuple(report_facts(exploration)),
        width_colours=tuple(to_hex(colours(step)) for step in range(upper - lower + 1)),
    )  # fmt: skip


def _view(exploration: Exploration, points: Sequence[Point]) -> View:
    """What lies far below the minimum would squeeze the front."""
    scale, least, baseline = exploration.scale, exploration.min_score, exploration.float_evaluation.score
    share, limited = scale.unit == "%", least > scale.worst
    far = 0.12 if share else max(0.0, baseline - least) / 2
    floor = 0.0 if share else -math.inf
    return view_of(
        {p.widths: (p.cost, p.score) for p in points}.values(),
        [baseline, least] if limited else [baseline],
        lowest=max(floor, least - far) if exploration.front_evaluations and limited else floor,
        margin=1.0 if exploration.cost_column == "total_bits" else 0.0,
    )


def _nearest_to_front(others: Sequence[Point], front: Sequence[Point], least: float) -> list[Point]:
    """``others`` by how much score they lack to be level with the front at their cost, or to reach ``least``
    where the front has nothing as cheap."""
    if not others:
        return []
    costs = np.array([p.cost for p in front])
    levels = np.array([max(least, min(p.score for p in others)), *(p.score for p in front)])
    levels[1:] = np.maximum.accumulate(
        levels[1:]
    )  # as measured, a front that was compared otherwise goes up and down
    at = np.searchsorted(costs, [p.cost for p in others], side="right")
    lacking = levels[at] - np.array([p.score for p in others])
    return [others[index] for index in np.argsort(lacking, kind="stable")]


def _split(points: Sequence[Point], min_score: float) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """Those that are feasible, and those that are not."""
    feasible = tuple(p for p in points if p.score >= min_score)
    return feasible, tuple(p for p in points if p.score < min_score)
