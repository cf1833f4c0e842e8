import copy
import io
import re
import threading

import numpy as np
import pytest
import torch
from tiny import make_tiny_model
from torch import nn
from torch.utils.data import TensorDataset

from qa_lib import (
    Evaluator,
    IncrementalForward,
    QAWarning,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    explore,
)
from qa_lib.calibration import collect_statistics
from qa_lib.errors import CalibrationError, DataError, DeviceError, RemovedError
from qa_lib.plots.activation_histogram import float_activations

WIDTHS = range(2, 17)


def amaxes(qmodel):
    return {name: float(q.amax) for name, q in qmodel.activation_fake_quantizers.items()}


def tables(qmodel):
    frame = qmodel.layer_table(all_widths=True).set_index("name")
    return frame[[f"amax_{num_bits}" for num_bits in WIDTHS]].to_numpy()


@pytest.fixture
def fresh(tiny_model):
    return QuantizedActivationsModel(tiny_model, conv2d_predicate, num_bits=3)


def test_max_is_the_largest_magnitude_of_the_float_activations(qmodel, images):
    for name, amax in amaxes(qmodel).items():
        assert amax == pytest.approx(float(float_activations(qmodel, images, name).abs().max()), rel=1e-6)


def test_widths_and_stages_are_as_before(fresh, images):
    fresh.bit_widths = {"conv1": None}
    calibrate(fresh, images)
    assert fresh.bit_widths == (3, 3, None, 3)
    assert fresh.activation_fake_quantizers["conv1"].calibrated
    quantizer = fresh.activation_fake_quantizers["conv2"]
    assert len(quantizer(torch.linspace(-9, 9, 999)).unique()) == 2**3


@pytest.mark.parametrize(
    "batches",
    [
        lambda images: images,
        lambda images: images.split(10),
        lambda images: [(batch, torch.zeros(len(batch))) for batch in images.split(50)],
        lambda images: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images), batch_size=7),
    ],
    ids=["tensor", "batches", "pairs", "data loader"],
)
def test_batches_of_any_kind_and_cut_give_the_same(qmodel, images, batches):
    fresh = QuantizedActivationsModel(qmodel.remove(), conv2d_predicate)
    calibrate(fresh, batches(images), method="max")
    assert amaxes(fresh) == pytest.approx(amaxes(qmodel), rel=1e-6)
    assert fresh.statistics.images == len(images)


def test_calibrating_again_replaces(fresh, images):
    calibrate(fresh, images)
    before = amaxes(fresh)
    calibrate(fresh, images * 0.5)
    assert amaxes(fresh)["input"] == pytest.approx(before["input"] / 2, rel=1e-6)


def test_training_mode_and_statistics_are_left_alone(images):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    qmodel = QuantizedActivationsModel(model, conv2d_predicate)
    calibrate(qmodel, images)
    assert model.training
    assert int(model[1].num_batches_tracked) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_counted(fresh, images, bad):
    images[45, 0, 2, 2] = bad
    with pytest.raises(CalibrationError, match="1 of the 40 images in calibration batch 1 .* image 5 "):
        calibrate(fresh, images.split(40))
    assert all(quantizer.amax is None for quantizer in fresh.activation_fake_quantizers.values())
    assert fresh.bit_widths == (3, 3, 3, 3)


def test_activations_that_are_not_finite_name_the_layer(fresh, images):
    with torch.no_grad():
        fresh.model.conv1.weight[0] = float("inf")
    with pytest.raises(CalibrationError, match="activations of conv1, conv2 hold NaN or infinity"):
        calibrate(fresh, images)


def test_a_layer_that_is_all_zero_is_warned_of_and_gives_zeros(fresh, images):
    with torch.no_grad():
        fresh.model.conv1.weight.zero_()
        fresh.model.conv1.bias.zero_()
    with pytest.warns(QAWarning, match="activations of conv1 are zero"):
        calibrate(fresh, images)
    quantizer = fresh.activation_fake_quantizers["conv1"]
    assert float(quantizer.amax) == 0.0
    assert quantizer(torch.ones(3)).tolist() == [0.0, 0.0, 0.0]
    assert torch.isfinite(fresh(images)).all()


@pytest.mark.parametrize(
    "batches", [[], torch.empty(0, 1, 6, 6), iter(())], ids=["list", "tensor", "iterator"]
)
def test_no_images_are_refused(fresh, batches):
    with pytest.raises(CalibrationError, match="no calibration images"):
        calibrate(fresh, batches)


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        (["images"], "a calibration batch is str"),
        (torch.tensor(1.0), "without images"),
        (None, "is NoneType"),
    ],
)
def test_batches_of_something_else_are_refused(fresh, batches, said):
    with pytest.raises(CalibrationError, match=said):
        calibrate(fresh, batches)


def test_images_that_are_no_floats_are_refused(fresh, images):
    with pytest.raises(CalibrationError, match=r"are torch.uint8.*images.float\(\) / 255"):
        calibrate(fresh, (images * 255).byte())


def test_an_unknown_method_lists_the_known_ones(fresh, images):
    with pytest.raises(CalibrationError, match="'median'; known are mse, max, percentile, entropy.*, output"):
        calibrate(fresh, images, method="median")


def test_images_on_another_device_are_refused(fresh, images):
    with pytest.raises(DeviceError, match="on 'meta'"):
        calibrate(fresh, images.to("meta"))


def test_max_is_what_the_toolkit_does_by_default(fresh, images):
    record = calibrate(fresh, images, method="max")
    assert record.unsigned == () and record.passes == 1
    assert not any(q.has_amax_by_width or q.unsigned for q in fresh.activation_fake_quantizers.values())
    theirs = copy.deepcopy(fresh)
    for quantizer in theirs.activation_fake_quantizers.values():
        quantizer.disable_quant()
        quantizer.enable_calib()
    theirs(images)
    calibrators = {n: q._calibrator for n, q in theirs.activation_fake_quantizers.items()}
    assert amaxes(fresh) == {name: float(c.compute_amax()) for name, c in calibrators.items()}


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "entropy"])
def test_statistics_give_what_the_images_gave(fresh, images, method):
    calibrate(fresh, images, method=method)
    found = tables(fresh)
    record = calibrate(fresh, fresh.statistics, method=method)
    assert (tables(fresh) == found).all()
    assert record.passes == 0 and record.images == len(images)


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_setting_num_bits_takes_the_amax_for_it(fresh, images, method):
    calibrate(fresh, images, method=method)
    table = fresh.layer_table(all_widths=True)
    for num_bits in WIDTHS:
        fresh.bit_widths = [num_bits] * 4
        assert fresh.layer_table()["amax"].tolist() == table[f"amax_{num_bits}"].tolist()
    assert table["amax_2"].lt(table["amax_8"]).any()


def test_one_amax_for_all_is_that_for_the_width_of_each_quantizer(fresh, images):
    calibrate(fresh, images, method="mse")
    table = tables(fresh)
    fresh.bit_widths = [2, 4, None, 6]
    calibrate(fresh, images, method="mse", per_width=False)
    expected = [table[0, 0], table[1, 2], table[2, 6], table[3, 4]]  # widths begin at 2; float counts as 8
    for column in range(len(WIDTHS)):
        assert tables(fresh)[:, column].tolist() == expected


def test_methods_that_do_not_look_at_the_width_have_one_amax(fresh, images):
    record = calibrate(fresh, images, method="percentile", percentile=99.0)
    assert not any(q.has_amax_by_width for q in fresh.activation_fake_quantizers.values())
    assert record.per_width is False and record.options == {"percentile": 99.0}
    assert calibrate(fresh, images, method="mse").per_width is True


def test_unsigned_where_nothing_was_negative(fresh, images):
    record = calibrate(fresh, images)
    assert record.unsigned == ("input",)
    assert fresh.layer_table()["unsigned"].tolist() == [True, False, False, False]
    fresh.bit_widths = {"input": 2}
    levels = fresh.activation_fake_quantizers["input"](images).unique()
    assert len(levels) == 4 and levels[0] == 0
    calibrate(fresh, images, unsigned=False)
    assert not fresh.layer_table()["unsigned"].any()


def test_a_relu_network_gains_a_bit(images):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    qmodel = QuantizedActivationsModel(model, lambda module: isinstance(module, nn.ReLU), num_bits=4)
    errors = {}
    for unsigned in (False, "auto"):
        assert calibrate(qmodel, images, unsigned=unsigned).unsigned == (("input", "1") if unsigned else ())
        quantizer = qmodel.activation_fake_quantizers["1"]
        given = model[:1](images).relu().detach()
        errors[unsigned] = float((quantizer(given) - given).square().mean())
    assert errors["auto"] < 0.4 * errors[False]


def test_unsigned_by_force_names_who_was_given_negative_values(fresh, images):
    with pytest.raises(CalibrationError, match='shortcut, conv1, conv2 were given negative.*"auto"'):
        calibrate(fresh, images, unsigned=True)
    assert not fresh.activation_fake_quantizers["input"].calibrated


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"percentile": 101.0, "method": "percentile"}, "percentile is 101.0; give a number from 0 to 100"),
        ({"percentile": "high", "method": "percentile"}, "percentile is 'high'; give a number from 0 to 100"),
        (
            {"percentile": 99.0, "method": "max"},
            "'max' does not know the option 'percentile'; it has no options",
        ),
        ({"percent": 99.0, "method": "percentile"}, "'percent'; its options are percentile"),
        ({"stride": 0, "method": "entropy"}, "stride is 0; give a whole number from 1"),
        ({"start_bin": 1.5, "method": "entropy"}, "start_bin is 1.5; give a whole number from 1"),
        ({"per_width": "yes"}, "per_width is 'yes'; allowed are True, False"),
        ({"unsigned": "always"}, "unsigned is 'always'; allowed are True, False, 'auto', None"),
        ({"images": 0, "method": "output"}, "images is 0; give a whole number from 1 up"),
        ({"images": 2.5, "method": "output"}, "images is 2.5; give a whole number from 1 up"),
        ({"labels": 1, "method": "output"}, "its options are images, divergence, progress"),
    ],
    ids=str,
)
def test_bad_options_say_what_is_allowed(fresh, images, options, said):
    with pytest.raises(CalibrationError, match=re.escape(said)):
        calibrate(fresh, images, **options)
    assert all(quantizer.amax is None for quantizer in fresh.activation_fake_quantizers.values())


def test_statistics_of_another_model_are_refused(fresh, images):
    other = QuantizedActivationsModel(nn.Sequential(nn.Conv2d(1, 2, 1)), conv2d_predicate)
    calibrate(other, images)
    with pytest.raises(CalibrationError, match="are of quantizers input, 0; this model has input, shortcut"):
        calibrate(fresh, other.statistics)
    with pytest.raises(CalibrationError, match="give it images, not statistics"):
        calibrate(other, other.statistics, method="output")


def test_everything_is_saved_with_the_model(fresh, images):
    calibrate(fresh, images, method="mse")
    file = io.BytesIO()
    torch.save(fresh.state_dict(), file)
    file.seek(0)
    again = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
    again.load_state_dict(torch.load(file, weights_only=True))
    assert again.layer_table(all_widths=True).equals(fresh.layer_table(all_widths=True))
    assert again.calibration == fresh.calibration
    assert again.statistics.to_frame().equals(fresh.statistics.to_frame())
    assert torch.equal(again(images), fresh(images))
    calibrate(again, again.statistics, method="entropy")
    calibrate(fresh, fresh.statistics, method="entropy")
    assert (tables(again) == tables(fresh)).all()


def test_a_replica_and_an_incremental_pass_follow_the_width(fresh, images, labels):
    calibrate(fresh, images, method="mse")
    evaluator = Evaluator(fresh, images, labels, batch_size=96)
    incremental = IncrementalForward(fresh, images)
    for widths in ([2, 3, 4, 5], [5, 4, None, 2], [8, 8, 8, 8]):
        with fresh.temporary_bit_widths(widths), torch.no_grad():
            logits = fresh(images)
            assert evaluator.evaluate(widths).score == int((logits.argmax(1) == labels).sum()) / len(labels)
        assert torch.equal(incremental(widths), logits)
    incremental.rebase([3, 3, 3, 3])
    calibrate(fresh, images, method="entropy")
    with fresh.temporary_bit_widths([3, 3, 2, 3]), torch.no_grad():
        assert torch.equal(incremental([3, 3, 2, 3]), fresh(images))


def test_a_search_over_widths_is_measured_with_the_amax_of_each(fresh, images, labels):
    calibrate(fresh, images, method="mse")
    evaluator = Evaluator(fresh, images, labels, batch_size=96)
    exploration = explore(evaluator, evaluations=12, population_size=6, progress=False)
    for evaluation in exploration.measured:
        with fresh.temporary_bit_widths(evaluation.bit_widths), torch.no_grad():
            assert evaluation.score == int((fresh(images).argmax(1) == labels).sum()) / len(labels)


def test_what_is_no_quantized_model_or_none_any_more_is_refused(fresh, images):
    with pytest.raises(
        CalibrationError, match="takes a QuantizedActivationsModel, not TinyNet: wrap the model"
    ):
        calibrate(make_tiny_model(), images)
    calibrate(fresh, images)
    fresh.remove()
    for batches in (images, fresh.statistics):
        with pytest.raises(RemovedError):
            calibrate(fresh, batches)


@pytest.mark.parametrize("batches", [torch.rand(4), [()]], ids=["one dimension", "empty tuple"])
def test_batches_without_images_say_so(fresh, batches):
    with pytest.raises(CalibrationError, match="batch .* images"):
        calibrate(fresh, batches)


class Normalising(nn.Module):
    """Changes its input in place, and keeps a table of what it met first."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 6)
        self.table = None

    def forward(self, images):
        if self.table is None:
            self.table = torch.ones(images.shape[1:])
        return self.conv(images.sub_(0.5).div_(0.25) * self.table).flatten(1)


@pytest.mark.parametrize("method", ["mse", "output"])
def test_a_model_that_overwrites_its_input_leaves_the_images_alone(images, method):
    qmodel = QuantizedActivationsModel(Normalising(), conv2d_predicate)
    before = images.clone()
    options = {"progress": False} if method == "output" else {}
    calibrate(qmodel, images, method=method, **options)
    assert torch.equal(images, before)
    assert qmodel.statistics["input"].maximum == float(images.max())
    found = tables(qmodel)
    calibrate(qmodel, images, method=method, **options)
    assert (tables(qmodel) == found).all()
    evaluator = Evaluator(qmodel, images, torch.zeros(len(images), dtype=torch.int64), batch_size=96)
    assert evaluator.evaluate_uniform(None) == evaluator.evaluate([None, None], remeasure=True)


def test_what_the_user_s_code_makes_can_still_be_trained_on(images):
    qmodel = QuantizedActivationsModel(Normalising(), conv2d_predicate)
    made = []

    def batches():
        assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        assert qmodel.bit_widths == (8, 8)
        for batch in images.split(48):
            made.append(batch * 2)
            yield made[-1]

    calibrate(qmodel, batches())
    for tensor in (*made, qmodel.model.table):
        (tensor * nn.Parameter(torch.ones(1))).sum().backward()


@pytest.mark.slow
def test_a_generator_may_use_its_memory_again(fresh, images):
    def batches():
        buffer = torch.empty(32, 1, 6, 6)
        for batch in images.split(32):
            yield buffer.copy_(batch)

    calibrate(fresh, images.split(32), method="output", progress=False)
    expected = tables(fresh)
    calibrate(fresh, batches(), method="output", progress=False)
    assert (tables(fresh) == expected).all()


def test_other_threads_wait_while_a_batch_is_watched(fresh, images, labels):
    calibrate(fresh, images)
    fresh.bit_widths = [2] * 4
    evaluator = Evaluator(fresh, images, labels, batch_size=96)
    with torch.no_grad():
        expected = fresh(images)
    wrong, asked, running = [], [], True

    def disturb():
        while running:
            with torch.no_grad():
                wrong.append(not torch.equal(fresh(images), expected))
            asked.append(evaluator.evaluate({"input": 3}).bit_widths)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        counts = {collect_statistics(fresh, images.split(8))["conv1"].count for _ in range(20)}
    finally:
        running = False
        thread.join()
    assert counts == {96 * 4 * 36}
    assert wrong and not any(wrong)
    assert set(asked) == {(3, 2, 2, 2)}


def test_options_of_any_kind_are_saved_as_plain_values(fresh, images):
    def my_divergence(outputs, reference):
        return float((outputs - reference).abs().mean())

    for options, kept in (
        ({"method": "percentile", "percentile": np.float64(99)}, {"percentile": 99.0}),
        ({"method": "output", "divergence": my_divergence, "progress": False, "images": np.int64(20)}, None),
    ):
        record = calibrate(fresh, images, **options)
        assert kept is None or record.options == kept
        assert isinstance(hash(record), int)
        file = io.BytesIO()
        torch.save(fresh.state_dict(), file)
        file.seek(0)
        torch.load(file, weights_only=True)
    assert record.options == {"divergence": "my_divergence", "progress": False, "images": 20}


def test_an_amax_of_next_to_nothing_is_told_from_a_dead_layer(images):
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 3, 6), nn.Flatten())
    qmodel = QuantizedActivationsModel(model, lambda module: isinstance(module, nn.ReLU))
    with pytest.warns(QAWarning, match="^amax of 0 is so small"):
        calibrate(qmodel, images - 0.9, method="percentile", percentile=30)
    with pytest.warns(QAWarning, match="^amax of input, 0 is so small"):
        calibrate(qmodel, images * 1e-30)


def test_layers_that_return_nothing_are_named(images):
    class Nothing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.unused = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)

        def forward(self, images):
            self.unused(images[:0])
            return self.conv(images)

    qmodel = QuantizedActivationsModel(Nothing(), conv2d_predicate)
    with pytest.raises(CalibrationError, match="^unused returned no activations"):
        calibrate(qmodel, images)


@pytest.mark.parametrize("form", ["array", "data set", "batches of arrays", "pairs"])
def test_images_in_any_form_that_is_searched_on_calibrate(qmodel, images, form):
    calibrate(qmodel, images)
    expected = {name: float(q.amax) for name, q in qmodel.activation_fake_quantizers.items()}
    parts = images.split(64)
    given = {
        "array": images.numpy(),
        "data set": TensorDataset(images, torch.arange(len(images))),
        "batches of arrays": [part.numpy() for part in parts],
        "pairs": [(part.numpy(), np.arange(len(part))) for part in parts],
    }[form]
    calibrate(qmodel, given)
    assert {n: float(q.amax) for n, q in qmodel.activation_fake_quantizers.items()} == expected


def test_a_forward_that_runs_another_model_is_refused_before_that_model_is_run(images):
    model = make_tiny_model()
    qmodel = QuantizedActivationsModel(model, conv2d_predicate, forward=lambda given, batch: model(batch))
    with pytest.raises(DataError, match="does not call the model that it is handed"):
        calibrate(qmodel, images)
