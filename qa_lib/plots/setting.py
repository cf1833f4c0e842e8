"""One setting of the bit widths, as the panel's sliders would show it."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qa_lib.checks import check_kind
from qa_lib.errors import DataError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.plots import style


def plot_setting(names: Sequence[str], evaluation: Evaluation) -> Figure:
    """A bar for each quantizer, as high as its width, titled with what the setting scored.

    Args:
        names: The quantizers, in order.
        evaluation: The setting; a quantizer that is switched off has no bar and says "float".
    """
    check_kind(
        "evaluation",
        evaluation,
        Evaluation,
        DataError,
        "what an evaluator returns: evaluator.evaluate(widths)",
    )
    heights = [num_bits or 0 for num_bits in evaluation.bit_widths]
    with style.new_figure(size=(1.4 + 0.36 * len(names), 3.2)) as (figure, axes):
        bars = axes.bar(range(len(names)), heights, width=0.66, color=style.CHOSEN)
        axes.bar_label(
            bars, [num_bits or "float" for num_bits in evaluation.bit_widths], fontsize=8, padding=2
        )
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(0, max(heights) + 1)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        style.title(
            axes,
            f"{evaluation.scale.name} {evaluation.text}, total bits {evaluation.total_bits}, "
            f"mean bits {evaluation.mean_bits:.2f}",
        )
        style.label_axes(axes, "", "num_bits")
    return figure
