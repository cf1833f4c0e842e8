"""What the same width in every layer costs in accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.plots import style
from qa_lib.plots.given import check_evaluations


@dataclass(frozen=True)
class UniformWidths:
    """What ``plot_uniform_widths`` draws: accuracies (0 to 1) by width, widest first."""

    num_bits: tuple[int, ...]
    accuracy: tuple[float, ...]
    float_accuracy: float


def uniform_widths(evaluations: Sequence[Evaluation], float_evaluation: Evaluation) -> UniformWidths:
    """The data step of ``plot_uniform_widths``."""
    check_evaluations(evaluations, float_evaluation)
    ordered = sorted(evaluations, key=lambda evaluation: -evaluation.total_bits)
    return UniformWidths(
        num_bits=tuple(evaluation.total_bits // len(evaluation.bit_widths) for evaluation in ordered),
        accuracy=tuple(evaluation.score for evaluation in ordered),
        float_accuracy=float_evaluation.score,
    )


def plot_uniform_widths(evaluations: Sequence[Evaluation], float_evaluation: Evaluation) -> Figure:
    """Accuracy over the width that all layers share, beside the float model's.

    Args:
        evaluations: Settings with the same width everywhere, in any order.
        float_evaluation: The model with every quantizer switched off.
    """
    data = uniform_widths(evaluations, float_evaluation)
    with style.new_figure(size=(6.4, 3.4)) as (figure, axes):
        style.grid(axes, "y")
        axes.axhline(data.float_accuracy, color=style.FLOAT, linewidth=1, linestyle="--", label="float model")
        axes.plot(
            data.num_bits,
            data.accuracy,
            color=style.UNIFORM,
            marker="s",
            linewidth=1.6,
            label="uniform widths",
        )
        for num_bits, accuracy in zip(data.num_bits, data.accuracy, strict=True):
            axes.annotate(
                f"{accuracy:.1%}", (num_bits, accuracy), xytext=(0, -14), textcoords="offset points",
                ha="center", fontsize=8,
            )  # fmt: skip
        axes.set_xticks(data.num_bits)
        axes.set_ylim(0, 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        style.label_axes(axes, "num_bits of every quantizer", "accuracy on the search set")
        axes.legend(loc="lower right", frameon=False)
    return figure
