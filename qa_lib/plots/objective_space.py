"""The score against the cost: everything measured, the front, and the baselines."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qa_lib.costs import fewer, name_and_unit, parts
from qa_lib.errors import SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.metrics import Accuracy, Scale
from qa_lib.plots import style
from qa_lib.search.check_exploration import check_is_exploration
from qa_lib.search.exploration import Exploration
from qa_lib.search.intervals import drop_error


@dataclass(frozen=True)
class ObjectiveSpace:
    """What ``plot_objective_space`` draws; each array is of shape ``(points, 2)``, its columns
    the cost (total bits; lower is better) and the score (higher is better). ``second`` is what the points of the front cost by the second of two costs,
    shape ``(points,)``, without any where there is one. ``errors`` are the most that the standard errors of the front's drops from the float model can be,
    same shape, without any where items are not right or wrong. ``expected`` are the points of the front with the score to
    expect, an estimate, without points if nothing says so; ``floor`` is the score of what is worth nothing."""

    front: np.ndarray
    expected: np.ndarray
    dominated: np.ndarray
    infeasible: np.ndarray
    stopped: np.ndarray
    uniform: np.ndarray
    uniform_num_bits: tuple[int, ...]
    float_score: float
    min_score: float
    floor: float
    scale: Scale
    by: str
    second: np.ndarray
    errors: np.ndarray


def objective_space(exploration: Exploration) -> ObjectiveSpace:
    """The data step of ``plot_objective_space``."""
    check_is_exploration(exploration)
    if not exploration.candidates:
        raise SearchError("there is nothing to show: the search was interrupted before anything was measured")

    def place(evaluations: Iterable[Evaluation]) -> np.ndarray:
        # What has an endless error has no place.
        pairs = [(exploration.cost(e.bit_widths), e.estimate) for e in evaluations if e.estimate > -math.inf]
        return np.array(pairs, float).reshape(-1, 2)

    points = place(exploration.measured)
    front = place(exploration.front_evaluations)
    expected = np.array(exploration.expected_scores(exploration.front_evaluations), float)
    costs = parts(exploration.cost)
    # With two costs a front is no stair.
    one = len(costs) == 1 and bool(np.isfinite(expected).all())
    stair = np.column_stack([front[:, 0], expected]) if one else front[:0]
    second = [costs[1](e.bit_widths) for e in exploration.front_evaluations] if len(costs) > 1 else []
    feasible = points[:, 1] >= exploration.min_score
    on_front = (points[:, None, :] == front[None, :, :]).all(axis=2).any(axis=1)
    uniform = {n: e for n, e in exploration.uniform_evaluations.items() if e.complete and e.score > -math.inf}
    return ObjectiveSpace(
        front=front,
        expected=stair,
        dominated=points[feasible & ~on_front],
        infeasible=points[~feasible],
        stopped=place(exploration.stopped),
        uniform=place(uniform.values()),
        uniform_num_bits=tuple(uniform),
        float_score=exploration.float_evaluation.score,
        min_score=exploration.min_score,
        floor=exploration.floor if exploration.scale.worst == -math.inf else exploration.scale.worst,
        scale=exploration.scale,
        by=exploration.by,
        second=np.array(second, float),
        errors=np.array(_errors(exploration), float),
    )


def _errors(exploration: Exploration) -> list[float]:
    sums = np.array(exploration.float_evaluation.sums)
    one_each = sums.ndim == 2 and sums[:, -1].sum() == exploration.float_evaluation.search_images
    if not (isinstance(exploration.metric, Accuracy) and one_each):
        return []
    return [drop_error(sums, np.array(e.sums)) for e in exploration.front_evaluations]


def plot_objective_space(exploration: Exploration, chosen: Evaluation | None = None) -> Figure:
    """The score over total bits, or the exploration's own cost, with the front, the float model and the uniform widths. Of two costs the colours of the front tell the second.

    Args:
        exploration: What to draw.
        chosen: A setting to mark.
    """
    data = objective_space(exploration)
    with style.new_figure(size=(7.2, 4.4)) as (figure, axes):
        style.grid(axes)
        if len(data.stopped):
            axes.scatter(
                *data.stopped.T, s=9, facecolor="none", edgecolor=style.STOPPED, linewidth=0.7,
                label="stopped early (estimate)",
            )  # fmt: skip
        axes.scatter(
            *data.infeasible.T, s=16, marker="x", linewidth=0.8, color=style.INFEASIBLE, label="infeasible"
        )
        axes.scatter(
            *data.dominated.T, s=14, color=style.DOMINATED, alpha=0.7, linewidth=0, label="not on the front"
        )
        _draw_baselines(axes, data)
        label = f"front, as measured ({len(data.front)})"
        if len(data.errors):
            label += " ± 2 s.e."
            axes.errorbar(
                *data.front.T,
                2 * data.errors,
                fmt="none",
                ecolor=style.FRONT,
                alpha=0.35,
                linewidth=1.6,
                zorder=2,
            )
        if len(data.second):
            shown = axes.scatter(
                *data.front.T, s=34, c=data.second, cmap=style.SECOND_COST, zorder=3, label=label
            )
            bar = figure.colorbar(shown, ax=axes, pad=0.02, fraction=0.06, aspect=30)
            bar.set_label(f"{name_and_unit(parts(exploration.cost)[1])}  (← less is better)")
            bar.outline.set_visible(False)
        else:
            if data.by == "score":
                axes.step(*data.front.T, where="post", color=style.FRONT, linewidth=1.2)
            axes.scatter(*data.front.T, s=30, color=style.FRONT, zorder=3, label=label)
        if len(data.expected):
            axes.step(
                *data.expected.T, where="post", color=style.EXPECTED, linewidth=1.4, zorder=2, label="front, as expected (estimate)"
            )  # fmt: skip
        if chosen is not None:
            axes.scatter(
                exploration.cost(chosen.bit_widths), chosen.score, s=150, facecolor="none", edgecolor=style.CHOSEN,
                linewidth=2, zorder=4, label="chosen",
            )  # fmt: skip
        _set_view(axes, data)
        style.label_axes(
            axes,
            f"{name_and_unit(exploration.cost)}  (← {fewer(exploration.cost)} is better)",
            f"{data.scale.axis} on the search set  (more is better →)",
        )
        axes.legend(
            loc="lower right", ncols=2, frameon=True, facecolor="white", edgecolor="none", framealpha=0.85
        )
    return figure


def _draw_baselines(axes: Axes, data: ObjectiveSpace) -> None:
    axes.axhline(data.float_score, color=style.FLOAT, linewidth=1, linestyle="--", label="float model")
    if data.min_score > data.scale.worst:
        axes.axhline(
            data.min_score, color=style.LIMIT, linewidth=1, linestyle=":", label=f"minimum {data.scale.name}"
        )
    cost, score = data.uniform.T
    axes.scatter(cost, score, s=34, marker="s", color=style.UNIFORM, zorder=3, label="uniform widths")


def _set_view(axes: Axes, data: ObjectiveSpace) -> None:
    """Room for what is near the front; what lies far below it is counted instead of shown."""
    points = np.vstack([data.front, data.dominated, data.infeasible, data.stopped])
    everything = np.vstack([points, data.uniform])
    top = max(data.float_score, data.min_score, everything[:, 1].max())
    bottom = data.floor
    if data.min_score > data.scale.worst and len(data.front):
        # Of an accuracy 12 points.
        bottom = max(
            data.floor, data.min_score - 0.12 * (top - data.floor if data.scale.unit != "%" else 1.0)
        )
    axes.set_ylim(bottom, top + 0.06 * (top - bottom))
    style.score_ticks(axes, data.scale, None)
    shown = everything[everything[:, 1] >= bottom, 0]
    margin = max(1.0, 0.04 * (shown.max() - shown.min()))
    axes.set_xlim(shown.min() - margin, shown.max() + margin)
    for num_bits, (cost, score) in zip(data.uniform_num_bits, data.uniform, strict=True):
        if score >= bottom:
            axes.annotate(
                f"{num_bits} bits", (cost, score), xytext=(5, -12), textcoords="offset points",
                fontsize=8, color="#8A5F00", zorder=4,
            )  # fmt: skip
    below = int((points[:, 1] < bottom).sum())
    if below:
        axes.set_title(
            f"{below} candidates lie below {data.scale.text(bottom, 0)}",
            fontsize=8,
            color="#666666",
            loc="right",
        )
