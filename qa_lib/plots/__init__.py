"""Figures: a data step makes a record, and the record is drawn with matplotlib."""

from qa_lib.plots.activation_histogram import activation_histogram, plot_activation_histogram
from qa_lib.plots.bit_width_map import bit_width_map, plot_bit_width_map
from qa_lib.plots.objective_space import objective_space, plot_objective_space
from qa_lib.plots.search_progress import plot_search_progress, search_progress

__all__ = [
    "activation_histogram",
    "bit_width_map",
    "objective_space",
    "plot_activation_histogram",
    "plot_bit_width_map",
    "plot_objective_space",
    "plot_search_progress",
    "search_progress",
]
