import pytest
import torch
from torch import nn

from qa_lib import QAWarning, QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.errors import CalibrationError, DeviceError
from qa_lib.plots.activation_histogram import float_activations


def amaxes(qmodel):
    return {name: float(q.amax) for name, q in qmodel.activation_fake_quantizers.items()}


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
    calibrate(fresh, batches(images))
    assert amaxes(fresh) == pytest.approx(amaxes(qmodel), rel=1e-6)


def test_calibrating_again_replaces(fresh, images):
    calibrate(fresh, images)
    before = amaxes(fresh)
    calibrate(fresh, images * 0.5)
    assert amaxes(fresh)["input"] == pytest.approx(before["input"] / 2)


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
    with pytest.raises(CalibrationError, match="'median'; known are max"):
        calibrate(fresh, images, method="median")


def test_images_on_another_device_are_refused(fresh, images):
    with pytest.raises(DeviceError, match="on 'meta'"):
        calibrate(fresh, images.to("meta"))
