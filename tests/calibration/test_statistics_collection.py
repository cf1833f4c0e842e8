"""The oracle is numpy on the raw activations."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from qa_lib import QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.calibration import collect_statistics
from qa_lib.calibration.collection import _Collector, _scan, _scan_on_device
from qa_lib.errors import CalibrationError
from qa_lib.plots.activation_histogram import float_activations
from qa_lib.quantization.activation_statistics import KEYS, ActivationStatistics


def statistics_of(*arrays):
    """Of a quantizer that was given each of ``arrays``."""
    collector = _Collector()
    for values in arrays:
        collector(None, (torch.as_tensor(values, dtype=torch.float32),))
    return collector.statistics()


def assert_same(one, other):
    assert (one.count, one.minimum, one.maximum) == (other.count, other.minimum, other.maximum)
    assert one.keys.tolist() == other.keys.tolist()
    assert one.counts.tolist() == other.counts.tolist()


VALUES = {
    "normal": np.random.default_rng(1).normal(0.3, 2.0, 20_000),
    "after ReLU": np.random.default_rng(2).normal(size=20_000).clip(min=0),
    "tiny": np.random.default_rng(3).normal(size=9_000) * 1e-12,
    "denormal": np.random.default_rng(4).uniform(size=999) * 1e-40,
    "with an outlier of 1e30": np.r_[np.random.default_rng(5).normal(size=5_000), 1e30],
    "with an outlier of -1e30": np.r_[np.random.default_rng(5).normal(size=5_000), -1e30],
    "one value": np.full(777, 0.37),
    "one negative value": np.full(777, -0.37),
    "zeros": np.zeros(100),
    "negative zeros": -np.zeros(100),
    "one number": np.array([-2.5]),
    "all magnitudes": np.random.default_rng(6).choice([-1, 1], 9_000) * 10.0 ** np.linspace(-44, 38, 9_000),
    "negative": -np.random.default_rng(7).exponential(size=9_000),
    "across many blocks": np.random.default_rng(8).normal(size=4096 * 7 + 13),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_what_numpy_finds(values):
    values = values.astype(np.float32)
    layer = statistics_of(values)
    assert (layer.minimum, layer.maximum, layer.count) == (values.min(), values.max(), values.size)
    assert layer.largest_magnitude == np.abs(values).max()
    assert layer.zeros == (np.abs(values.astype(float)) < 2.0**-136).sum()
    magnitude = np.abs(values.astype(float)).mean()
    assert layer.mean == pytest.approx(values.mean(dtype=float), abs=magnitude / 1000)
    assert layer.mean_magnitude == pytest.approx(magnitude, rel=1e-3, abs=1e-41)
    assert layer.mean_square == pytest.approx(np.square(values.astype(float)).mean(), rel=1e-3, abs=1e-80)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_bins_hold_what_lies_between_their_edges(values):
    values = np.sort(values.astype(np.float32)).astype(float)
    lower, upper, counts = statistics_of(values).histogram
    assert counts.sum() == values.size
    assert (lower <= upper).all() and (upper[:-1] <= lower[1:]).all()
    # A bin of positive numbers begins with its lower edge, one of negative numbers ends with its upper one.
    for side, first, last in ((lower >= 0, "left", "left"), (lower < 0, "right", "right")):
        below = values.searchsorted(lower[side], first)
        above = values.searchsorted(upper[side], last)
        inside = above - below
        ends = upper[side] == values[-1] if first == "left" else lower[side] == values[0]
        inside[ends] = counts[side][ends]  # cut off at the extremes
        zeros = (lower[side] <= 0) & (upper[side] >= 0)
        assert (inside == counts[side])[~zeros].all()
    # The bins are narrow: where the numbers are normal ones, a 1,024th.
    normal = np.minimum(np.abs(lower), np.abs(upper)) > 1e-37
    widths, ends = (upper - lower)[normal], np.minimum(np.abs(lower), np.abs(upper))[normal]
    assert (widths <= ends / 1024 * (1 + 1e-12)).all()


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_cut_and_order_do_not_matter_and_parts_add_up(values):
    whole = statistics_of(values)
    pieces = np.array_split(values, min(5, len(values)))
    assert_same(statistics_of(*pieces[::-1]), whole)  # the larger values may come later
    parts = [statistics_of(piece) for piece in pieces]
    assert_same(sum(parts[1:], parts[0]), whole)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_a_device_without_the_kernel_counts_the_same(values):
    tensor = torch.as_tensor(values, dtype=torch.float32)
    kernel, plain = np.zeros(KEYS, np.uint32), np.zeros(KEYS, np.uint32)
    assert _scan(tensor.numpy(), kernel) == _scan_on_device(tensor, plain)
    assert (kernel == plain).all()


def test_counts_move_on_before_they_overflow(monkeypatch):
    values = np.random.default_rng(1).normal(size=1000)
    expected = statistics_of(*[values] * 5)
    monkeypatch.setattr("qa_lib.calibration.collection._MOST", 2_500)
    assert_same(statistics_of(*[values] * 5), expected)


def test_linear_magnitudes_are_numpy_s_histogram():
    values = VALUES["normal"].astype(np.float32)
    counts, width = statistics_of(values).linear_magnitudes
    assert 1024 < len(counts) <= 2048
    edges = np.arange(len(counts) + 1) * width
    assert edges[-2] <= np.abs(values).max() < edges[-1]
    assert counts.tolist() == np.histogram(np.abs(values), bins=edges)[0].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_precisions_count_as_float32(dtype):
    tensor = torch.as_tensor(VALUES["normal"]).to(dtype)
    collector = _Collector()
    collector(None, (tensor,))
    assert_same(collector.statistics(), statistics_of(tensor.float()))


@pytest.mark.parametrize("layout", ["channels last", "expanded", "strided", "slice of another"])
def test_any_layout_is_seen_whole(layout):
    values = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    given = {
        "channels last": values.contiguous(memory_format=torch.channels_last),
        "expanded": values[:1].expand(4, -1, -1, -1),
        "strided": values[:, ::2],
        "slice of another": values.flatten()[7:100],
    }[layout]
    collector = _Collector()
    collector(None, (given,))
    assert_same(collector.statistics(), statistics_of(given.contiguous().flatten()))


def test_every_quantizer_s_activations_while_none_quantizes(tiny_model, images):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate, num_bits=2)
    qmodel.bit_widths = {"conv1": None}
    statistics = collect_statistics(qmodel, images.split(40))
    assert statistics.images == 96
    assert qmodel.bit_widths == (2, 2, None, 2)
    assert not any(quantizer.calibrated for quantizer in qmodel.activation_fake_quantizers.values())
    for name in qmodel.names:
        values = torch.cat([float_activations(qmodel, batch, name) for batch in images.split(40)])
        assert_same(statistics[name], statistics_of(values))


def test_the_same_images_thirty_times_fill_the_same_bins(tiny_model, images):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    once = collect_statistics(qmodel, images)
    often = collect_statistics(qmodel, (images for _ in range(30)))
    for name in qmodel.names:
        assert often[name].keys.tolist() == once[name].keys.tolist()
        assert often[name].counts.tolist() == (30 * once[name].counts).tolist()


def test_two_halves_add_up(tiny_model, images):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    parts = [collect_statistics(qmodel, half) for half in images.split(48)]
    both = collect_statistics(qmodel, images.split(48))
    added = parts[0] + parts[1]
    assert added.images == 96
    for name in qmodel.names:
        assert_same(added[name], both[name])
    other = QuantizedActivationsModel(nn.Sequential(nn.Conv2d(1, 2, 1)), conv2d_predicate)
    with pytest.raises(CalibrationError, match="do not add up .* one model with one predicate"):
        parts[0] + collect_statistics(other, images)


def test_saved_and_loaded_they_are_the_same(qmodel):
    again = ActivationStatistics.from_state(qmodel.statistics.state())
    for name in qmodel.names:
        assert_same(again[name], qmodel.statistics[name])


def test_the_table(qmodel, images):
    frame = qmodel.statistics.to_frame()
    assert frame.columns.tolist() == ["name", "minimum", "maximum", "mean", "zero_share", "count"]
    assert frame["name"].tolist() == list(qmodel.names)
    assert frame["count"].tolist() == [96 * 36, 4 * 96 * 36, 4 * 96 * 36, 4 * 96 * 36]
    assert frame["mean"][0] == pytest.approx(float(images.mean()), rel=1e-3)


def test_a_model_in_a_loop_calls_its_quantizer_for_each(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, images):
            return self.conv(self.conv(images))

    qmodel = QuantizedActivationsModel(Twice(), conv2d_predicate)
    assert collect_statistics(qmodel, images)["conv"].count == 2 * images.numel()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_later_batch_that_makes_a_layer_endless_is_refused(tiny_model, images, bad):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    calibrate(qmodel, images)
    before = qmodel.layer_table(all_widths=True)

    def spoil(module, inputs, output):
        return torch.full_like(output, bad) if len(output) == 7 else output

    tiny_model.relu.register_forward_hook(spoil)
    with pytest.raises(CalibrationError, match="activations of conv2 hold NaN or infinity"):
        calibrate(qmodel, [images, images[:7]])
    assert qmodel.layer_table(all_widths=True).equals(before)
