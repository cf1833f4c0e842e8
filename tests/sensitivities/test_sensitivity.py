"""Against whole forward passes of the toolkit's definition: one layer quantized, all others off."""

import itertools
import threading

import numpy as np
import pytest
import torch
from tiny import TinyNet

from qa_lib import (
    Archive,
    IncrementalForward,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    explore,
    load_workload,
    sensitivity,
)
from qa_lib.costs import WeightedBits, total_bits
from qa_lib.errors import (
    BitWidthError,
    CalibrationError,
    DataError,
    NotCalibratedError,
    QAWarning,
    SearchError,
)
from qa_lib.metrics.divergence import kullback_leibler, mean_squared_error
from qa_lib.sensitivities import SensitivityTable

NAMES = ("input", "shortcut", "conv1", "conv2")


def quiet(qmodel, images, **options):
    return sensitivity(qmodel, images, progress=False, **options)


@pytest.fixture
def table(qmodel, images):
    return quiet(qmodel, images)


@pytest.mark.parametrize("divergence", [kullback_leibler, mean_squared_error])
def test_each_number_is_that_of_a_whole_pass(qmodel, images, divergence):
    table = quiet(qmodel, images, divergence=divergence, num_bits_lower_limit=3, num_bits_upper_limit=6)
    assert (table.names, table.widths, table.images) == (NAMES, (3, 4, 5, 6), 96)
    assert table.divergence.shape == (4, 4)
    batches = images.split(64)
    with torch.inference_mode():
        with qmodel.temporary_bit_widths([None] * 4):
            reference = torch.cat([qmodel(batch) for batch in batches])
        for (row, name), (column, width) in itertools.product(enumerate(NAMES), enumerate(table.widths)):
            with qmodel.temporary_bit_widths([None] * 4), qmodel.temporary_bit_widths({name: width}):
                outputs = torch.cat([qmodel(batch) for batch in batches])
            assert table.divergence[row, column] == pytest.approx(
                divergence(outputs, reference), rel=1e-5, abs=1e-9
            )


def test_logits_are_compared_by_kullback_leibler(qmodel, images, table):
    assert table == quiet(qmodel, images, divergence=kullback_leibler)
    assert table != quiet(qmodel, images, divergence=mean_squared_error)
    assert table != "a table"


def test_fewer_bits_disturb_more(table):
    assert (table.divergence[:, 0] > table.divergence[:, -1]).all()
    assert (table.divergence >= 0).all() and np.isfinite(table.divergence).all()


def test_the_model_keeps_its_widths(qmodel, images):
    qmodel.bit_widths = [3, 4, 5, 6]
    quiet(qmodel, images)
    assert qmodel.bit_widths == (3, 4, 5, 6)


def test_the_archive_keeps_each_number(qmodel, images, tmp_path, monkeypatch):
    path = tmp_path / "archive.sqlite"
    seen = []
    call = IncrementalForward.__call__

    def impatient(self, bit_widths):
        seen.append(bit_widths)
        if len(seen) == 1 + 24:
            raise KeyboardInterrupt
        return call(self, bit_widths)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(IncrementalForward, "__call__", impatient)
        quiet(qmodel, images, archive=path)
    seen.clear()
    with monkeypatch.context() as patched:
        patched.setattr(IncrementalForward, "__call__", lambda self, w: seen.append(w) or call(self, w))
        first = quiet(qmodel, images, archive=path)
        kept = 1 + 28 - len(seen)  # of the float pass and 28 settings
        assert 14 <= kept <= 24 and kept % 7 == 0  # what was begun of a quantizer is run again
        seen.clear()
        again = quiet(qmodel, images, archive=Archive(path))
    assert not seen and again.passes == 0
    assert first == again == quiet(qmodel, images)


def test_only_some_widths_are_the_same_numbers(qmodel, images, tmp_path):
    path, asked = tmp_path / "archive.sqlite", []
    some = quiet(qmodel, images, archive=path, widths=[8, 2, 4], on_setting=lambda: asked.append(1))
    assert some.widths == (2, 4, 8) and len(asked) == 4 * 3
    whole = quiet(qmodel, images)
    assert some.divergence.tolist() == whole.divergence[:, [0, 2, 6]].tolist()
    assert some.predicted_divergence((2, 4, 8, 8)) == whole.predicted_divergence((2, 4, 8, 8))
    with pytest.raises(SearchError, match=r"are for 2, 4 and 8 bits, and 3 and 5 are asked for"):
        some.predicted_divergence((2, 3, 5, 8))
    assert {width for setting in some.front() for width in setting} <= {2, 4, 8}
    # The rest is measured, and nothing twice.
    rest = quiet(qmodel, images, archive=path)
    assert rest == whole and rest.passes < whole.passes
    assert some.to_frame().columns.tolist() == [2, 4, 8]


def test_a_second_worker_finds_the_same(qmodel, images, monkeypatch):
    before, ran = torch.get_num_threads(), set()
    call = IncrementalForward.__call__

    def noted(self, bit_widths):
        ran.add(threading.current_thread())
        return call(self, bit_widths)

    try:
        torch.set_num_threads(1)
        with_one = quiet(qmodel, images)
        torch.set_num_threads(2)
        with monkeypatch.context() as patched:
            patched.setattr(IncrementalForward, "__call__", noted)
            assert quiet(qmodel, images) == with_one
        assert len(ran - {threading.current_thread()}) == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_model_that_cannot_be_copied_is_measured_itself(qmodel, images):
    class Alone(TinyNet):
        def __deepcopy__(self, memo):
            raise TypeError("there is one of me")

    network = Alone().eval()
    network.load_state_dict(qmodel.model.state_dict())
    alone = QuantizedActivationsModel(network, conv2d_predicate)
    calibrate(alone, images[:32])
    calibrate(qmodel, images[:32])
    alone.bit_widths = [3, 4, 5, 6]
    with pytest.warns(QAWarning, match="cannot be copied"):
        found = quiet(alone, images)
    assert found == quiet(qmodel, images) and alone.bit_widths == (3, 4, 5, 6)


def test_what_the_numbers_depend_on_is_part_of_the_key(qmodel, images, tmp_path):
    path = tmp_path / "archive.sqlite"
    before = quiet(qmodel, images, archive=path)
    assert quiet(qmodel, images[:64], archive=path).passes > 0
    assert quiet(qmodel, images, archive=path, divergence=mean_squared_error).passes > 0
    qmodel.activation_fake_quantizers["conv1"].amax = 0.5
    changed = quiet(qmodel, images, archive=path)
    assert changed.passes > 0 and changed != before


@pytest.mark.slow
def test_unchanged_layers_are_not_run_again():
    fresh = load_workload("fashion_mnist")
    qmodel = QuantizedActivationsModel(fresh.model, fresh.predicate)
    calibrate(qmodel, fresh.calibration_images[:128])
    table = quiet(qmodel, fresh.search_images[:128])
    assert table.divergence.size == 119
    # Of 120 settings; in full passes over 4,096 images that is below 4, and without reuse below 8.
    assert table.passes < 0.75 * 120
    assert table.passes * 128 / 4096 < 4 and 120 * 128 / 4096 < 8


def test_a_prediction_is_the_sum(table):
    expected = (
        table.divergence[0, 1] + table.divergence[1, 0] + table.divergence[2, 6] + table.divergence[3, 2]
    )
    assert table.predicted_divergence([3, 2, 8, 4]) == pytest.approx(expected)
    with pytest.raises(SearchError, match="2 to 8 bits"):
        table.predicted_divergence([9, 2, 2, 2])


@pytest.mark.parametrize("cost", [total_bits, WeightedBits((1.0, 3.0, 0.5, 2.0))])
@pytest.mark.parametrize("limits", [(2, 8), (3, 5)])
def test_its_front_is_that_of_brute_force(table, cost, limits):
    every = list(itertools.product(range(limits[0], limits[1] + 1), repeat=4))
    sums = sorted((cost(w), table.predicted_divergence(w)) for w in every)
    expected = []
    for pair in sums:
        if not expected or pair[1] < expected[-1][1] - 1e-12:
            expected.append(pair)
    found = [(cost(w), table.predicted_divergence(w)) for w in table.front(cost, limits)]
    assert np.array(found) == pytest.approx(np.array(expected))


def test_as_a_frame(table):
    frame = table.to_frame()
    assert frame.index.tolist() == list(NAMES) and frame.columns.tolist() == list(range(2, 9))
    assert frame.loc["conv1", 3] == table.divergence[2, 1]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"num_bits_lower_limit": 5, "num_bits_upper_limit": 4}, SearchError, "swap"),
        ({"num_bits_upper_limit": 17}, BitWidthError, "num_bits_upper_limit is 17"),
        ({"divergence": lambda outputs, reference: "much"}, CalibrationError, "divergence has to take"),
        ({"divergence": lambda outputs: 0.0}, CalibrationError, "TypeError"),
    ],
)
def test_mistakes_are_explained(qmodel, images, options, error, said):
    with pytest.raises(error, match=said):
        quiet(qmodel, images, **options)


@pytest.mark.parametrize(
    "given", [torch.full((2, 1, 6, 6), float("nan")), torch.zeros(2, 1, 6, 6, dtype=torch.uint8)]
)
def test_images_have_to_be_finite_numbers(qmodel, given):
    with pytest.raises(DataError, match="finite floating-point|images are torch.uint8"):
        quiet(qmodel, given)


@pytest.mark.parametrize("given", [torch.zeros(0, 1, 6, 6), "images", torch.tensor(1.0)])
def test_images_are_needed(qmodel, given):
    with pytest.raises(DataError, match="at least one image"):
        quiet(qmodel, given)


def test_calibration_comes_first(tiny_model, images):
    with pytest.raises(NotCalibratedError):
        quiet(QuantizedActivationsModel(tiny_model, conv2d_predicate), images)


def test_a_divergence_that_is_no_number_counts_as_the_largest(qmodel, images):
    table = quiet(qmodel, images, divergence=lambda outputs, reference: float("nan"))
    assert (table.divergence == 1e6).all()


def test_a_search_refuses_another_models_table(qmodel, evaluator):
    other = SensitivityTable(("input",), (2, 3), np.ones((1, 2)), 4)
    with pytest.raises(DataError, match="another model"):
        explore(evaluator, sensitivities=other, progress=False)


def test_a_search_refuses_a_table_that_lacks_its_widths(qmodel, evaluator, images):
    narrow = quiet(qmodel, images, num_bits_lower_limit=3, num_bits_upper_limit=5)
    with pytest.raises(SearchError, match="3 to 5 bits"):
        explore(evaluator, sensitivities=narrow, progress=False)
