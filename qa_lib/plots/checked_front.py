"""What a front loses on data that chose nothing, beside what it lost in the search."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from qa_lib.checks import check_kind
from qa_lib.errors import ReportError
from qa_lib.metrics import Scale
from qa_lib.plots import style
from qa_lib.search.check_exploration import check_one_cost
from qa_lib.search.checked_front import CheckedFront


@dataclass(frozen=True, eq=False)
class CheckedDrops:
    """What ``plot_checked_front`` draws: drops from the float model, in the unit of the scale, positive is worse; one for each setting.

    Attributes:
        costs: What each setting costs, cheapest first.
        searched: Its drop in the search.
        expected: The drop to expect of it, an estimate; NaN if nothing says so.
        held_out: Its drop on the hold-out set.
        low: The least that it may be.
        high: The most.
        level: How sure all of these together are, 0 to 1.
        items: Size of the hold-out set.
        cost: What the costs are called.
        scale: How the score is called and written.
    """

    costs: np.ndarray
    searched: np.ndarray
    expected: np.ndarray
    held_out: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    items: int
    cost: str
    scale: Scale


def checked_drops(checked: CheckedFront) -> CheckedDrops:
    """The data step of ``plot_checked_front``."""
    check_kind("checked", checked, CheckedFront, ReportError, "what exploration.check() returns")
    check_one_cost("the figure", checked.cost)
    scale, cost = checked.float_searched.scale, checked.cost
    return CheckedDrops(
        costs=np.array([cost(e.bit_widths) for e in checked.searched], float),
        searched=scale.factor * np.array([checked.float_searched.score - e.score for e in checked.searched]),
        expected=scale.factor * (checked.float_searched.score - checked.expected),
        held_out=scale.factor * checked.drops,
        low=scale.factor * checked.low,
        high=scale.factor * checked.high,
        level=checked.level,
        items=checked.float_held_out.search_images,
        cost=cost.name if cost.unit in ("", "bits") else f"{cost.name} ({cost.unit})",
        scale=scale,
    )


def plot_checked_front(checked: CheckedFront) -> Figure:
    """What each setting of a front loses against the float model: in the search, and on the hold-out set with its interval. The gap between
    the two is luck.

    Args:
        checked: What ``exploration.check(holdout)`` returned.
    """
    data = checked_drops(checked)
    with style.new_figure(size=(7.2, 4.0)) as (figure, axes):
        style.grid(axes, "y")
        axes.axhline(0, color=style.FLOAT, linewidth=1, linestyle="--", label="float model of the same set")
        axes.plot(
            data.costs, data.searched, color=style.FRONT, linestyle="none", marker="o", markersize=5, markerfacecolor="white",
            label="measured in the search, which chose them",
        )  # fmt: skip
        if np.isfinite(data.expected).all():
            axes.step(
                data.costs, data.expected, where="post", color=style.EXPECTED, linewidth=1.4, label="expected by the search (estimate)"
            )  # fmt: skip
        below, above = data.held_out - data.low, data.high - data.held_out
        axes.errorbar(
            data.costs, data.held_out, yerr=np.maximum([below, above], 0), color=style.CHOSEN, linestyle="none", marker="D", markersize=5,
            capsize=3, linewidth=1.2, label=f"on {data.items:,} items that chose nothing ({100 * data.level:g}% bars)",
        )  # fmt: skip
        axes.invert_yaxis()  # higher is better, as in every figure
        unit = " (points)" if data.scale.unit == "%" else f" ({data.scale.unit})" if data.scale.unit else ""
        style.label_axes(axes, f"{data.cost}, lower is better", f"drop in {data.scale.name}{unit}")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1, frameon=False)
    return figure
