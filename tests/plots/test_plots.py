"""The record is checked against its definition; then that it draws."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import explorations
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from qa_lib import Exploration, calibrate, errors, explore, plots
from qa_lib.costs import WeightedBits
from qa_lib.plots import style
from qa_lib.plots.activation_histogram import float_activations
from qa_lib.sensitivities import SensitivityTable


def setting(widths, correct, shown=100):
    return explorations.setting(widths, correct, 100, shown)


@pytest.fixture
def exploration():
    """Two quantizers; by hand: the front is (2, 3) and (8, 8), and (2, 2) is infeasible."""
    uniform = {2: setting((2, 2), 40), 8: setting((8, 8), 90)}
    stopped = setting((4, 5), 11, 20)
    candidates = (*uniform.values(), setting((2, 3), 80), setting((8, 7), 75), stopped)
    return Exploration(("input", "conv"), candidates, setting((None, None), 95), uniform, 0.5, (2, 8))


def points(axes):
    """Where axes show something that was measured: points of lines and markers. Lines across the whole axes are none."""
    both = (True, True)  # x and y are data
    lines = [
        line.get_xydata()
        for line in axes.lines
        if line.get_transform().contains_branch_seperately(axes.transData) == both
    ]
    markers = [np.ma.filled(c.get_offsets(), np.nan) for c in axes.collections if len(c.get_offsets())]
    found = np.concatenate([np.empty((0, 2)), *lines, *markers]).astype(float)
    return {tuple(point) for point in found.round(6).tolist() if np.isfinite(point).all()}


def draws(figure, tmp_path):
    """Whether all of the axes show something, and the figure can be saved."""
    figure.savefig(tmp_path / "figure.png")
    assert not plt.get_fignums()
    bars = {axes: [p for p in axes.patches if any(p.get_path().get_extents().size)] for axes in figure.axes}
    meshes = {axes: [c for c in axes.collections if c.get_array() is not None] for axes in figure.axes}
    return all(bool(points(a) or bars[a] or meshes[a] or len(a.images)) for a in figure.axes)


def test_empty_axes_show_nothing(tmp_path):
    with style.new_figure(size=(4, 3)) as (figure, axes):
        axes.axhline(0.9)
        axes.set_title("all sorts of colours")
    assert not draws(figure, tmp_path)


def test_objective_space(exploration, tmp_path):
    data = plots.objective_space(exploration)
    assert data.front.tolist() == [[5, 0.8], [16, 0.9]]
    assert data.dominated.tolist() == [[15, 0.75]]
    assert data.infeasible.tolist() == [[4, 0.4]]
    assert data.stopped.tolist() == [[9, 0.55]]
    assert data.uniform.tolist() == [[4, 0.4], [16, 0.9]]
    assert data.uniform_num_bits == (2, 8)
    assert (data.float_score, data.min_score) == (0.95, 0.5)
    figure = plots.plot_objective_space(exploration, chosen=exploration.measured[2])
    assert draws(figure, tmp_path)
    shown = points(figure.axes[0])
    for kind in (data.front, data.dominated, data.uniform[1:]):
        assert set(map(tuple, kind.tolist())) <= shown


def test_bit_width_map(exploration, tmp_path):
    data = plots.bit_width_map(exploration)
    assert data.names == ("input", "conv")
    assert data.num_bits.tolist() == [[2, 8], [3, 8]]
    assert data.total_bits.tolist() == [5, 16]
    assert data.scores.tolist() == [0.8, 0.9]
    assert draws(plots.plot_bit_width_map(exploration), tmp_path)


def test_search_progress(exploration, tmp_path):
    data = plots.search_progress(exploration)
    assert data.constraint_violation.tolist() == pytest.approx([0.1, 0, 0, 0, 0])
    assert data.mean_violation.tolist() == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025, 0.02])
    # The box: accuracy 0.5..0.95, total bits 4..16. After three evaluations, (2, 3) covers
    # (0.3 / 0.45) of the accuracy from 5 bits on; (8, 8) covers nothing, being at the edge.
    assert data.hypervolume.tolist() == pytest.approx([0, 0] + [0.3 / 0.45 * 11 / 12] * 3)
    assert data.stopped.tolist() == [False] * 4 + [True]
    assert data.full_passes.tolist() == pytest.approx([1, 2, 3, 4, 4.2])
    figure = plots.plot_search_progress(exploration)
    assert draws(figure, tmp_path)
    rising = zip(data.full_passes.round(6), data.hypervolume.round(6), strict=True)
    assert set(rising) <= points(figure.axes[0])
    lacking = zip(data.full_passes.round(6), data.constraint_violation.round(6), strict=True)
    assert set(lacking) <= points(figure.axes[1])


def test_plots_of_an_exploration_without_a_front(exploration, tmp_path):
    hopeless = Exploration(
        exploration.names, exploration.measured, exploration.float_evaluation, {}, 0.99, (2, 8)
    )
    assert hopeless.front.empty
    assert draws(plots.plot_objective_space(hopeless), tmp_path)
    assert draws(plots.plot_search_progress(hopeless), tmp_path)
    assert plots.search_progress(hopeless).hypervolume.tolist() == [0, 0, 0, 0]
    with pytest.raises(errors.SearchError, match="no solution"):
        plots.plot_bit_width_map(hopeless)


@pytest.mark.parametrize("num_bits", [3, 8])
def test_activation_histogram(qmodel, images, tmp_path, num_bits):
    data = plots.activation_histogram(qmodel, images, "conv1", num_bits)
    quantizer = qmodel.activation_fake_quantizers["conv1"]
    activations = float_activations(qmodel, images, "conv1")
    assert data.counts.sum() == len(activations) == 96 * 4 * 36
    assert data.amax == float(quantizer.amax)
    with qmodel.temporary_bit_widths({"conv1": num_bits}):
        error = float((quantizer(activations) - activations).square().mean())
        reached = quantizer(torch.linspace(-2 * data.amax, 2 * data.amax, 20_001)).unique()
    assert data.levels == pytest.approx(reached.numpy(), rel=1e-6)
    assert data.clipped == 0.0
    assert data.mean_squared_error == pytest.approx(error)
    assert qmodel.bit_widths == (8, 8, 8, 8)
    assert draws(plots.plot_activation_histogram(qmodel, images, "conv1", num_bits), tmp_path)


def test_activation_histogram_counts_what_is_clipped(qmodel, images):
    activations = float_activations(qmodel, images, "conv1")
    qmodel.activation_fake_quantizers["conv1"].amax = 0.1
    data = plots.activation_histogram(qmodel, images, "conv1", 4)
    assert data.clipped == pytest.approx(
        float(((activations > data.levels[-1]) | (activations < data.levels[0])).float().mean())
    )
    assert data.clipped > 0.1


def test_activation_histogram_draws_on_given_axes(qmodel, images):
    figure, axes = plt.subplots()
    assert plots.plot_activation_histogram(qmodel, images, "conv1", 4, axes=axes) is figure
    plt.close(figure)


@pytest.mark.parametrize(("name", "num_bits"), [("conv9", 4), ("conv1", None), ("conv1", 1)])
def test_activation_histogram_refuses_what_has_no_grid(qmodel, images, name, num_bits):
    with pytest.raises(errors.BitWidthError):
        plots.activation_histogram(qmodel, images, name, num_bits)


def test_fake_quantization(tmp_path):
    signal = torch.linspace(-1.5, 1.5, 50)
    data = plots.fake_quantization(signal, (2, 4), 1.0)
    assert list(data.quantized) == [2, 4]
    assert np.unique(data.quantized[2]).tolist() == [-2, -1, 0, 1]
    assert data.quantized[4] == pytest.approx(np.clip(np.round(signal.numpy() * 7), -8, 7) / 7)
    assert draws(plots.plot_fake_quantization(signal, (2, 4), 1.0), tmp_path)


def test_uniform_widths(exploration, tmp_path):
    evaluations = list(exploration.uniform_evaluations.values())
    data = plots.uniform_widths(evaluations, exploration.float_evaluation)
    assert data.num_bits == (8, 2)
    assert data.scores == (0.9, 0.4)
    assert data.float_score == 0.95
    figure = plots.plot_uniform_widths(evaluations, exploration.float_evaluation)
    assert draws(figure, tmp_path) and {(8, 0.9), (2, 0.4)} <= points(figure.axes[0])


def test_setting_and_images_draw(tmp_path, images):
    assert draws(plots.plot_setting(("input", "conv"), setting((4, None), 80)), tmp_path)
    assert draws(plots.plot_images(images[:3], ["a", "b", "c"]), tmp_path)


def test_calibration_grids(qmodel, tmp_path):
    layer = qmodel.statistics["conv1"]
    amax = {"max": {3: layer.largest_magnitude, 4: layer.largest_magnitude}, "mine": {3: 0.2, 4: 0.3}}
    data = plots.calibration_grids(layer, amax)
    assert data.counts.sum() == pytest.approx(layer.count)
    assert [[(g.method, g.num_bits) for g in row] for row in data.grids] == [
        [("max", 3), ("max", 4)],
        [("mine", 3), ("mine", 4)],
    ]
    grid = data.grids[1][0]
    assert grid.levels.tolist() == pytest.approx([k * 0.2 / 3 for k in range(-4, 4)])
    assert data.grids[0][0].clipped < 0.001 < grid.clipped < 1
    assert draws(plots.plot_calibration_grids(layer, amax), tmp_path)


def test_calibration_grids_count_what_numpy_counts(qmodel, images):
    values = float_activations(qmodel, images, "conv1").numpy()
    grid = plots.calibration_grids(qmodel.statistics["conv1"], {"mine": {3: 0.2}}).grids[0][0]
    outside = ((values > 0.2) | (values < -0.8 / 3)).mean()
    assert grid.clipped == pytest.approx(outside, abs=0.002)


def test_accuracy_by_method(tmp_path):
    evaluations = {
        ("max", False): [setting((8, 8), 90), setting((2, 2), 10)],
        ("mse", True): [setting((2, 2), 40), setting((8, 8), 91)],
    }
    data = plots.accuracy_by_method(evaluations, setting((None, None), 95))
    assert data.float_score == 0.95
    assert data.accuracy.columns.tolist() == [8, 2]
    assert data.accuracy.loc[("max", False)].tolist() == [0.9, 0.1]
    assert data.accuracy.loc[("mse", True)].tolist() == [0.91, 0.4]
    assert draws(plots.plot_accuracy_by_method(evaluations, setting((None, None), 95)), tmp_path)


def test_calibration_size(tmp_path):
    accuracy = {
        ("max", 64): [0.5, 0.7, 0.6],
        ("max", 128): [0.8],
        ("mse", 64): [0.9, 0.92],
        ("mse", 128): [0.9],
    }
    table = plots.calibration_size(accuracy).table
    assert table.iloc[0].tolist() == ["max", 64, 0.5, 0.6, 0.7]
    assert table["images"].tolist() == [64, 128, 64, 128]
    assert draws(plots.plot_calibration_size(accuracy, 0.95, num_bits=4), tmp_path)


def test_methods_have_the_same_colour_everywhere_and_different_ones():
    colours = style.method_colours(["max", "mine", "mse", "yours"])
    assert colours["mse"] == style.METHODS["mse"] == style.method_colours(["mse"])["mse"]
    assert len(set(colours.values())) == 4
    roles = {style.FRONT, style.UNIFORM, style.CHOSEN, style.INFEASIBLE, style.LIMIT, style.DOMINATED}
    assert not roles & {*style.METHODS.values(), *style.OTHER_METHODS}


def test_the_grid_drawn_is_that_of_the_width_asked_for(qmodel, images):
    calibrate(qmodel, images, method="mse")
    qmodel.bit_widths = [8] * 4
    data = plots.activation_histogram(qmodel, images, "conv1", 3)
    quantizer = qmodel.activation_fake_quantizers["conv1"]
    assert data.amax == float(quantizer.amax_at(3)) == pytest.approx(data.levels[-1])
    unsigned = plots.activation_histogram(qmodel, images, "input", 3)
    assert unsigned.levels[0] == 0 and len(unsigned.levels) == 8


def test_sensitivities(tmp_path):
    divergence = np.array([[1.0, 0.1, 0.0], [2.0, 0.5, 1e-9]])
    table = SensitivityTable(("input", "conv"), (2, 3, 4), divergence, 10)
    data = plots.sensitivities(table)
    assert (data.names, data.widths) == (("input", "conv"), (2, 3, 4))
    assert data.divergence == pytest.approx(np.array([[1.0, 0.1, 2e-5], [2.0, 0.5, 2e-5]]))
    assert draws(plots.plot_sensitivities(table), tmp_path)
    nothing = SensitivityTable(("input", "conv"), (2, 3, 4), np.zeros((2, 3)), 10)
    assert draws(plots.plot_sensitivities(nothing), tmp_path)


def test_hypervolume_by_cost(tmp_path):
    """Two runs by hand: the median of two is their mean."""
    frame = pd.DataFrame(
        {
            "network": "net",
            "search": ["plain"] * 4 + ["ours"],
            "seed": [1, 1, 2, 2, 1],
            "full_passes": [1.0, 3.0, 2.0, 3.0, 1.0],
            "seconds": [10.0, 30.0, 20.0, 30.0, 1.0],
            "hypervolume": [0.2, 0.4, 0.1, 0.6, 0.7],
            "best": 0.8,
        }
    )
    curve = plots.hypervolume_by_cost(frame[frame["search"] == "plain"], "full_passes")
    assert curve.cost.tolist() == [1, 2, 3]
    assert curve.median.tolist() == pytest.approx([0.1, 0.15, 0.5])
    assert curve.lowest.tolist() == [0, 0.1, 0.4] and curve.highest.tolist() == [0.2, 0.2, 0.6]
    figure = plots.plot_hypervolume_by_cost(frame)
    assert draws(figure, tmp_path)
    many = pd.concat([frame.assign(search=f"search {n}") for n in range(9)])
    lines = plots.plot_hypervolume_by_cost(many).axes[0].lines
    searches = [line for line in lines if line.get_label().startswith("search")]
    assert len({line.get_color() for line in searches}) == len(searches) == 9
    assert draws(plots.plot_hypervolume_by_cost(frame.drop(columns=["seconds", "best"])), tmp_path)


def test_held_out(tmp_path):
    """Two runs by hand, and a search that is not known by name."""
    frame = pd.DataFrame(
        {
            "network": "net",
            "search": ["ours"] * 4 + ["ours, as measured"] * 2 + ["dice"] * 2,
            "seed": [1, 1, 2, 2, 1, 1, 1, 1],
            "full_passes": [20.0, 50.0] * 4,
            "hypervolume": [0.2, 0.6, 0.4, 0.8, 0.85, 0.9, 0.1, 0.1],
            "held_out": [0.1, 0.3, 0.2, 0.5, 0.2, 0.3, 0.0, 0.1],
        }
    )
    curve = plots.held_out_curve(frame, "ours", "held_out")
    assert curve.full_passes.tolist() == [20, 50]
    assert curve.median.tolist() == pytest.approx([0.15, 0.4])
    assert curve.lowest.tolist() == [0.1, 0.3] and curve.highest.tolist() == [0.2, 0.5]
    assert plots.held_out_curve(frame, "ours", "hypervolume").median.tolist() == pytest.approx([0.3, 0.7])
    figure = plots.plot_held_out(frame)
    lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].lines}
    assert lines["dice"] == [0.0, 0.1] and lines["what ours measures on the search set"] == [0.85, 0.9]
    assert draws(figure, tmp_path)


def test_uniform_widths_that_were_stopped_are_no_points(exploration):
    stopped = setting((3, 3), 2, 20)
    uniform = exploration.uniform_evaluations | {3: stopped}
    data = plots.objective_space(dataclasses.replace(exploration, uniform_evaluations=uniform))
    assert data.uniform_num_bits == (2, 8)


def test_objective_space_of_another_cost(exploration, tmp_path):
    """The first layer counts ten times: (8, 8) costs 88, (2, 3) 23."""
    other = dataclasses.replace(exploration, cost=WeightedBits((10.0, 1.0)))
    data = plots.objective_space(other)
    assert data.front.tolist() == [[23, 0.8], [88, 0.9]]
    assert data.uniform.tolist() == [[22, 0.4], [88, 0.9]]
    figure = plots.plot_objective_space(other)
    assert figure.axes[0].get_xlabel().startswith("weighted bits ")
    assert draws(figure, tmp_path)


def test_nothing_measured_is_nothing_to_show(exploration):
    empty = dataclasses.replace(exploration, candidates=(), uniform_evaluations={}, interrupted=True)
    for plot in (plots.plot_objective_space, plots.plot_search_progress):
        with pytest.raises(errors.SearchError, match="interrupted before anything was measured"):
            plot(empty)
    with pytest.raises(errors.SearchError, match="start it again"):
        _ = empty.nearest


def test_figures_drawn_in_threads_leave_the_settings_alone(exploration):
    """Which are everybody's: those that another thread sets meanwhile stay set."""
    before = dict(plt.rcParams)

    def draw(number):
        figure = plots.plot_objective_space(exploration)
        assert dict(plt.rcParams) == before
        return figure.axes[0].get_xlabel()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(24)))) == 1
    assert dict(plt.rcParams) == before and not plt.get_fignums()


@pytest.mark.slow
def test_a_notebook_shows_a_picture_though_nobody_has_imported_pyplot(tmp_path):
    script = """
import sys
from IPython.core.formatters import DisplayFormatter
from qa_lib.plots import plot_sensitivities
from qa_lib.sensitivities import SensitivityTable
import numpy as np
figure = plot_sensitivities(SensitivityTable(("input",), (2, 3), np.array([[2.0, 1.0]]), 10))
shown, _ = DisplayFormatter().format(figure)
assert shown["image/png"][:4] == b"\\x89PNG" and shown["text/plain"].startswith("<Figure size"), shown
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_the_fronts_error_bars_are_at_least_what_paired_items_say(
    evaluator, images, labels, qmodel, exploration
):
    assert not len(plots.objective_space(exploration).errors)  # nothing is known of its batches
    found = explore(evaluator, min_accuracy=0.3, evaluations=30, progress=False)
    errors = plots.objective_space(found).errors
    assert len(errors) == len(found.front_evaluations) and errors.max() > 0.02
    for error, point in zip(errors, found.front_evaluations, strict=True):
        right = []
        for widths in ([None] * 4, point.bit_widths):
            with qmodel.temporary_bit_widths(widths), torch.no_grad():
                right.append((qmodel(images).argmax(1) == labels).double())
        difference = right[0] - right[1]
        assert error >= float(difference.std(correction=0)) / len(images) ** 0.5 - 1e-3
    figure = plots.plot_objective_space(found)
    assert any("± 2 s.e." in text.get_text() for text in figure.axes[0].get_legend().get_texts())
