"""Figures: a data step makes a record, and the record is drawn with matplotlib."""

from qa_lib.plots.accuracy_by_method import accuracy_by_method, plot_accuracy_by_method
from qa_lib.plots.activation_histogram import activation_histogram, plot_activation_histogram
from qa_lib.plots.bit_width_map import bit_width_map, plot_bit_width_map, plot_settings
from qa_lib.plots.calibration_grids import calibration_grids, plot_calibration_grids
from qa_lib.plots.calibration_size import calibration_size, plot_calibration_size
from qa_lib.plots.checked_front import checked_drops, plot_checked_front
from qa_lib.plots.fake_quantization import fake_quantization, plot_fake_quantization
from qa_lib.plots.fronts_by_cost import fronts_by_cost, plot_fronts_by_cost
from qa_lib.plots.fronts_of_models import fronts_of_models, plot_fronts_of_models
from qa_lib.plots.held_out import held_out_curve, plot_held_out
from qa_lib.plots.hypervolume_by_cost import hypervolume_by_cost, plot_hypervolume_by_cost
from qa_lib.plots.images import plot_images
from qa_lib.plots.objective_space import objective_space, plot_objective_space
from qa_lib.plots.search_progress import plot_search_progress, search_progress
from qa_lib.plots.sensitivities import plot_sensitivities, sensitivities
from qa_lib.plots.setting import plot_setting
from qa_lib.plots.uniform_widths import plot_uniform_widths, uniform_widths

__all__ = [
    "accuracy_by_method",
    "activation_histogram",
    "bit_width_map",
    "calibration_grids",
    "calibration_size",
    "checked_drops",
    "fake_quantization",
    "fronts_by_cost",
    "fronts_of_models",
    "held_out_curve",
    "hypervolume_by_cost",
    "objective_space",
    "plot_accuracy_by_method",
    "plot_activation_histogram",
    "plot_bit_width_map",
    "plot_calibration_grids",
    "plot_calibration_size",
    "plot_checked_front",
    "plot_fake_quantization",
    "plot_fronts_by_cost",
    "plot_fronts_of_models",
    "plot_held_out",
    "plot_hypervolume_by_cost",
    "plot_images",
    "plot_objective_space",
    "plot_search_progress",
    "plot_sensitivities",
    "plot_setting",
    "plot_settings",
    "plot_uniform_widths",
    "search_progress",
    "sensitivities",
    "uniform_widths",
]
