"""What the same width in every layer costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.metrics import Scale
from qa_lib.plots import style
from qa_lib.plots.given import check_evaluations


@dataclass(frozen=True)
class UniformWidths:
    """What ``plot_uniform_widths`` draws: scores by width, widest first."""

    num_bits: tuple[int, ...]
    scores: tuple[float, ...]
    float_score: float
    scale: Scale


def uniform_widths(evaluations: Sequence[Evaluation], float_evaluation: Evaluation) -> UniformWidths:
    """The data step of ``plot_uniform_widths``."""
    check_evaluations(evaluations, float_evaluation)
    ordered = sorted(evaluations, key=lambda evaluation: -evaluation.total_bits)
    return UniformWidths(
        num_bits=tuple(evaluation.total_bits // len(evaluation.bit_widths) for evaluation in ordered),
        scores=tuple(evaluation.score for evaluation in ordered),
        float_score=float_evaluation.score,
        scale=float_evaluation.scale,
    )


def plot_uniform_widths(evaluations: Sequence[Evaluation], float_evaluation: Evaluation) -> Figure:
    """The score over the width that all layers share, beside the float model's.

    Args:
        evaluations: Settings with the same width everywhere, in any order.
        float_evaluation: The model with every quantizer switched off.
    """
    data = uniform_widths(evaluations, float_evaluation)
    with style.new_figure(size=(6.4, 3.4)) as (figure, axes):
        style.grid(axes, "y")
        axes.axhline(data.float_score, color=style.FLOAT, linewidth=1, linestyle="--", label="float model")
        axes.plot(
            data.num_bits,
            data.scores,
            color=style.UNIFORM,
            marker="s",
            linewidth=1.6,
            label="uniform widths",
        )
        for num_bits, score in zip(data.num_bits, data.scores, strict=True):
            axes.annotate(
                data.scale.text(score, 1), (num_bits, score), xytext=(0, -14), textcoords="offset points",
                ha="center", fontsize=8,
            )  # fmt: skip
        axes.set_xticks(data.num_bits)
        style.score_ticks(axes, data.scale)
        if data.scale.unit == "%":
            axes.set_ylim(0, 1.05)
        style.label_axes(axes, "num_bits of every quantizer", f"{data.scale.axis} on the search set")
        axes.legend(loc="lower right", frameon=False)
    return figure
