"""What a calibration method is worth: accuracy over the width that all layers share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.metrics import Scale
from qa_lib.plots import style


@dataclass(frozen=True)
class AccuracyByMethod:
    """What ``plot_accuracy_by_method`` draws.

    Attributes:
        accuracy: A row for each method and whether each width has its own ``amax``, a column for each width,
            widest first; 0 to 1, more is better.
        float_score: Of the float model.
        scale: How the scores are called and written.
    """

    accuracy: pd.DataFrame
    float_score: float
    scale: Scale


def accuracy_by_method(
    evaluations: Mapping[tuple[str, bool], Sequence[Evaluation]], float_evaluation: Evaluation
) -> AccuracyByMethod:
    """The data step of ``plot_accuracy_by_method``; its ``accuracy`` is the table that belongs to the figure."""
    rows = {
        key: {evaluation.bit_widths[0]: evaluation.score for evaluation in measured}
        for key, measured in evaluations.items()
    }
    frame = pd.DataFrame.from_dict(rows, orient="index").sort_index(axis=1, ascending=False)
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["method", "amax per width"])
    frame.columns.name = "num_bits"
    return AccuracyByMethod(frame, float_evaluation.score, float_evaluation.scale)


def plot_accuracy_by_method(
    evaluations: Mapping[tuple[str, bool], Sequence[Evaluation]], float_evaluation: Evaluation
) -> Figure:
    """Accuracy over the width that all layers share, a line for each way to calibrate.

    Args:
        evaluations: (method, whether each width has an ``amax`` of its own) -> settings with the same width
            everywhere. Lines with one ``amax`` for all widths are dashed.
        float_evaluation: The model with every quantizer switched off.
    """
    data = accuracy_by_method(evaluations, float_evaluation)
    colours = style.method_colours(dict.fromkeys(method for method, _ in evaluations))
    with style.new_figure(size=(7.2, 4.2)) as (figure, axes):
        style.grid(axes, "y")
        axes.axhline(data.float_score, color=style.FLOAT, linewidth=1, linestyle=":")
        for (method, per_width), accuracy in data.accuracy.iterrows():
            axes.plot(
                accuracy.index,
                accuracy.to_numpy(),
                color=colours[method],
                linestyle="-" if per_width else (0, (3, 2)),
                linewidth=1.8 if per_width else 1.3,
                marker="o" if per_width else None,
                markersize=4,
            )
        axes.set_xticks(data.accuracy.columns)
        style.score_ticks(axes, data.scale)
        if data.scale.unit == "%":
            axes.set_ylim(0, 1.03)
        style.label_axes(
            axes,
            "num_bits of every quantizer  (← fewer is better)",
            f"{data.scale.axis} on the search set  (more is better →)",
        )
        handles = [
            Line2D([], [], color=colour, linewidth=1.8, label=name) for name, colour in colours.items()
        ]
        handles += [
            Line2D([], [], color="#444444", marker="o", markersize=4, label="an amax for each width"),
            Line2D([], [], color="#444444", linestyle=(0, (3, 2)), label="one amax for all widths"),
            Line2D([], [], color=style.FLOAT, linestyle=":", linewidth=1, label="float model"),
        ]
        axes.legend(handles=handles, loc="lower right", frameon=False)
    return figure
