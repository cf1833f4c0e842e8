"""The oracles: the toolkit's own calibrator on the same histogram, and brute force on the raw activations."""

import numpy as np
import pytest
import torch
from pytorch_quantization.calib import histogram as toolkit_histogram
from test_statistics_collection import VALUES, statistics_of

from qa_lib import calibrate
from qa_lib.calibration import register_calibration_method
from qa_lib.calibration.methods import find_method, known_methods
from qa_lib.calibration.squared_error import squared_error
from qa_lib.errors import CalibrationError
from qa_lib.quantization import TensorQuantizer
from qa_lib.quantization.fake_quantize import grid_bounds

RANDOM = np.random.default_rng(11)
SHAPES = {
    "normal": RANDOM.normal(0.3, 2.0, 30_000),
    "heavy tails": RANDOM.standard_t(3, 30_000),
    "after ReLU": RANDOM.normal(size=30_000).clip(min=0),
    "skewed": RANDOM.gamma(1.5, size=30_000) - 1.0,
    "few levels": RANDOM.integers(0, 256, 30_000) / 255,
    "two clusters": np.r_[RANDOM.normal(-1, 0.1, 20_000), RANDOM.normal(3, 0.1, 2_000)],
}
shapes = pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)


def amax_of(method, values, num_bits, unsigned=False, **options):
    return find_method(method)(statistics_of(values), num_bits, unsigned, **options)


def true_error(values, amax, num_bits, unsigned=False):
    """With the project's quantizer, which is the toolkit's bit for bit, on the raw numbers."""
    quantizer = TensorQuantizer(num_bits, unsigned=unsigned)
    quantizer.amax = amax
    given = torch.as_tensor(values, dtype=torch.float32)
    with torch.no_grad():
        return float((quantizer(given).double() - given.double()).square().mean())


# Theirs answers with the first edge where nothing lies below it, as between two clusters: it divides 0 by 0.
@pytest.mark.slow
@pytest.mark.parametrize(
    "values", [v for n, v in SHAPES.items() if n != "two clusters"], ids=list(SHAPES)[:-1]
)
@pytest.mark.parametrize("unsigned", [False, True], ids=["signed", "unsigned"])
@pytest.mark.parametrize("num_bits", [2, 3, 4, 5, 8, 10, 13])
def test_entropy_is_the_toolkit_s_on_the_same_histogram(values, num_bits, unsigned):
    counts, width = statistics_of(values).linear_magnitudes
    stride = 64  # theirs takes 6 s with 1
    expected = toolkit_histogram._compute_amax_entropy(
        counts.astype(np.int64), np.arange(len(counts) + 1) * width, num_bits, unsigned, stride=stride
    )
    found = amax_of("entropy", values, num_bits, unsigned, stride=stride)
    assert found == pytest.approx(min(float(expected), np.abs(values).max()), abs=width)


@pytest.mark.slow
def test_entropy_is_the_toolkit_s_edge_by_edge():
    counts, width = statistics_of(SHAPES["heavy tails"]).linear_magnitudes
    edges = np.arange(len(counts) + 1) * width
    expected = toolkit_histogram._compute_amax_entropy(
        counts.astype(np.int64), edges, 4, False, start_bin=900
    )
    assert amax_of("entropy", SHAPES["heavy tails"], 4, start_bin=900) == pytest.approx(
        float(expected), abs=width
    )


@shapes
@pytest.mark.parametrize("percentile", [0, 50, 99, 99.9, 99.99, 100])
def test_percentile_is_the_toolkit_s_on_the_same_histogram(values, percentile):
    lower, upper, seen = statistics_of(values).magnitudes
    edges = np.r_[lower, upper[-1]]
    expected = toolkit_histogram._compute_amax_percentile(np.diff(seen, prepend=0), edges, percentile)
    # The bin that theirs gives the lower edge of, or its neighbour where rounding decides.
    place = edges.searchsorted(float(expected))
    first, last = lower[max(place - 1, 0)], upper[min(place + 1, len(upper) - 1)]
    assert first <= amax_of("percentile", values, 4, percentile=percentile) <= last


@shapes
@pytest.mark.parametrize("percentile", [50, 99, 99.9])
def test_percentile_is_numpy_s_within_a_bin(values, percentile):
    expected = np.percentile(np.abs(values), percentile)
    neighbours = np.percentile(np.abs(values), [percentile - 0.01, min(100, percentile + 0.01)])
    found = amax_of("percentile", values, 4, percentile=percentile)
    assert neighbours[0] * (1 - 1e-3) <= found <= neighbours[1] * (1 + 1e-3) or found == pytest.approx(
        expected, rel=1e-3
    )


@pytest.mark.slow
@shapes
@pytest.mark.parametrize("num_bits", [2, 3, 4, 6, 8, 10, 12])
def test_mse_is_as_good_as_brute_force_over_the_raw_activations(values, num_bits):
    unsigned = bool(values.min() >= 0)
    grid = np.abs(values).max() * np.linspace(0.005, 1, 1500)
    errors = [true_error(values, amax, num_bits, unsigned) for amax in grid]
    found = amax_of("mse", values, num_bits, unsigned)
    tolerance = 1.005 if num_bits <= 8 else 1.02  # Bennett's formula
    assert true_error(values, found, num_bits, unsigned) <= min(errors) * tolerance + 1e-12


def test_mse_finds_the_levels_of_a_picture():
    assert amax_of("mse", SHAPES["few levels"], 8, unsigned=True) == pytest.approx(1.0, abs=1e-6)


@shapes
@pytest.mark.parametrize("num_bits", [2, 4, 8, 9, 12])
@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_the_error_from_the_histogram_is_that_of_the_quantizer(values, num_bits, share):
    if num_bits > 8 and len(np.unique(values)) < 1000:
        pytest.skip("Bennett's formula is for values that fill their steps")
    amax = share * float(np.abs(values).max())
    estimated = squared_error(statistics_of(values), amax, num_bits)
    assert estimated == pytest.approx(true_error(values, amax, num_bits), rel=0.05 if num_bits > 4 else 0.01)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("method", ["max", "percentile", "mse", "entropy"])
def test_extremes_give_an_amax_that_a_quantizer_takes(method, values):
    values = values.astype(np.float32)
    layer = statistics_of(values)
    for num_bits in (2, 5, 8, 11, 16):
        for unsigned in {False, bool(values.min() >= 0)}:
            amax = find_method(method)(layer, num_bits, unsigned)
            assert 0 <= amax <= layer.largest_magnitude
            quantizer = TensorQuantizer(num_bits, unsigned=unsigned)
            quantizer.amax = amax
            assert torch.isfinite(quantizer(torch.as_tensor(values))).all()


@pytest.mark.parametrize("value", [0.37, -0.37, 3e-5])
@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_a_single_value_is_represented(value, num_bits):
    values = np.full(100, value, np.float32)
    error = true_error(values, amax_of("mse", values, num_bits), num_bits)
    assert error <= (0.005 * value) ** 2


def test_an_outlier_does_not_move_a_percentile():
    clean = np.random.default_rng(5).normal(size=5_000)
    found = amax_of("percentile", np.r_[clean, 1e30], 4, percentile=99.9)
    assert found == pytest.approx(np.percentile(np.abs(clean), 99.9), rel=0.05)


def test_grid_bounds():
    assert grid_bounds(4) == (-8, 7)
    assert grid_bounds(4, narrow_range=True) == (-7, 7)
    assert grid_bounds(4, unsigned=True) == (0, 15)


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr("qa_lib.calibration.methods._methods", {n: find_method(n) for n in known_methods()})


def test_a_user_adds_a_method(registry, qmodel, images):
    @register_calibration_method("sigmas")
    def sigmas(layer, num_bits, unsigned, times=3.0):
        return times * layer.mean_square**0.5 * num_bits / 8

    calibrate(qmodel, images, method="sigmas", times=2.0)
    expected = 2.0 * qmodel.statistics["conv1"].mean_square ** 0.5
    table = qmodel.layer_table(all_widths=True).set_index("name")
    assert table["amax_8"]["conv1"] == pytest.approx(expected, rel=1e-6)
    assert table["amax_4"]["conv1"] == pytest.approx(expected / 2, rel=1e-6)
    with pytest.raises(
        CalibrationError, match="'sigmas' does not know the option 'time'; its options are times"
    ):
        calibrate(qmodel, images, method="sigmas", time=2.0)


@pytest.mark.parametrize("returned", [-1.0, float("nan"), float("inf"), None, "1", True, np.ones(2)], ids=str)
def test_a_method_that_returns_nonsense_is_named(registry, qmodel, images, returned):
    register_calibration_method("mine")(lambda layer, num_bits, unsigned: returned)
    before = qmodel.layer_table(all_widths=True)
    with pytest.raises(CalibrationError, match="method 'mine' returned .* as amax of 'input' at 2 bits"):
        calibrate(qmodel, images, method="mine")
    assert qmodel.layer_table(all_widths=True).equals(before)


@pytest.mark.parametrize("returned", [np.float32(1.5), np.array(1.5), torch.tensor([1.5]), 2], ids=repr)
def test_one_number_of_any_kind_will_do(registry, qmodel, images, returned):
    register_calibration_method("mine")(lambda layer, num_bits, unsigned: returned)
    calibrate(qmodel, images, method="mine")
    assert float(qmodel.activation_fake_quantizers["conv1"].amax) == float(returned)


def test_a_method_that_fails_is_named_with_its_error(registry, qmodel, images):
    @register_calibration_method("mine")
    def mine(layer, num_bits, unsigned):
        return {}[num_bits]

    with pytest.raises(
        CalibrationError, match="'mine' failed to find amax of 'input' at 2 bits: KeyError: 2"
    ):
        calibrate(qmodel, images, method="mine")
    calibrate(qmodel, images, method="output", images=8, progress=False)  # which has no use for it


def test_a_method_may_take_any_option(registry, qmodel, images):
    register_calibration_method("mine")(lambda layer, num_bits, unsigned, **options: options["k"])
    calibrate(qmodel, images, method="mine", k=2.0)
    assert float(qmodel.activation_fake_quantizers["conv1"].amax) == 2.0


@pytest.mark.parametrize(
    ("name", "method", "said"),
    [
        ("mse", lambda layer, num_bits, unsigned: 1.0, "'mse' is there already"),
        ("output", lambda layer, num_bits, unsigned: 1.0, "'output' is there already"),
        ("mine", lambda layer, num_bits: 1.0, r"has to take \(layer, num_bits, unsigned\)"),
        ("mine", lambda layer, num_bits, unsigned, needed: 1.0, "options with defaults: missing"),
        (lambda layer: 1.0, None, "is not a name"),
    ],
    ids=["built in", "output", "two arguments", "an option without default", "no name"],
)
def test_a_method_that_cannot_be_called_is_refused_at_once(registry, name, method, said):
    with pytest.raises(CalibrationError, match=said):
        register_calibration_method(name)(method)


@pytest.mark.parametrize(("images", "outlier"), [(3_000_000, 900.0), (1_000_000, 400.0)])
@pytest.mark.parametrize("num_bits", [2, 3, 4])
def test_mse_finds_the_bulk_beside_an_outlier_far_away(images, outlier, num_bits):
    layer = statistics_of(np.append(np.random.default_rng(0).normal(size=images), outlier))
    found = squared_error(layer, find_method("mse")(layer, num_bits, False), num_bits)
    best = min(squared_error(layer, amax, num_bits) for amax in np.geomspace(0.2, outlier, 3000))
    assert found <= best * 1.005
