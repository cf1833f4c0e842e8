"""What data are refused, and that what is taken is a copy."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.batches.loading import read_items
from qa_lib.batches.structure import concatenated, take
from qa_lib.errors import CalibrationError, DataError, PredicateError

IMAGES = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 5
LOADER = TensorDataset(IMAGES, LABELS)


class Changing:
    """Gives other batches each time."""

    def __iter__(self):
        yield torch.rand(4, 1, 6, 6), torch.zeros(4).long()


class Failing:
    def __iter__(self):
        yield IMAGES, LABELS
        raise OSError("the disk is gone")


REFUSED = {
    "an iterator": (lambda: iter([(IMAGES, LABELS)]), "can be gone through once"),
    "a generator": (lambda: (batch for batch in [(IMAGES, LABELS)]), "can be gone through once"),
    "a loader that shuffles": (
        lambda: DataLoader(LOADER, batch_size=5, shuffle=True),
        "other batches the second time",
    ),
    "random augmentation": (Changing, "other batches the second time"),
    "nothing": (list, "there are no batches"),
    "a loader that fails": (Failing, "the disk is gone"),
    "a number": (lambda: 3, "give a tensor"),
    "text": (lambda: "images.npy", "give a tensor"),
    "items of two shapes": (lambda: [(IMAGES, LABELS), (IMAGES[..., 1:], LABELS)], "one shape and kind"),
    "two kinds": (lambda: [(IMAGES, LABELS), (IMAGES.double(), LABELS)], "one shape and kind"),
    "labels in some batches": (lambda: [(IMAGES, LABELS), IMAGES], "in the same place"),
    "other entries": (lambda: [({"x": IMAGES}, LABELS), ({"y": IMAGES}, LABELS)], "in the same place"),
    "no labels": (lambda: [IMAGES, IMAGES], "give the targets"),
    "fewer labels": (lambda: [(IMAGES, LABELS[:3])], "20 and 3 items"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_cannot_be_measured_on_are_a_sentence(qmodel, case):
    make, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        Evaluator(qmodel, make())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "cloud"}, "keep is 'cloud'; give 'memory' or 'disk'"),
        ({"keep": 3}, "keep is 3"),
        ({"transform": 3}, "transform is int"),
        ({"transform": lambda images: 1 / 0}, "transform raised ZeroDivisionError"),
    ],
)
def test_options_that_are_none_are_a_sentence(qmodel, options, message):
    with pytest.raises(DataError, match=message):
        Evaluator(qmodel, IMAGES, LABELS, **options)


def test_what_is_kept_is_a_copy(qmodel):
    images = IMAGES.clone()
    evaluator = Evaluator(qmodel, images, LABELS)
    before = evaluator.evaluate_uniform(4)
    images.zero_()
    assert (
        evaluator.evaluate_uniform(
            4,
        )
        == before
    )
    assert evaluator.evaluate([4] * 4, remeasure=True) == before


def test_a_loader_that_reuses_its_memory_is_read_as_it_was():
    class Reusing:
        def __iter__(self):
            batch = torch.empty(4, 1, 6, 6)
            for start in range(0, 20, 4):
                batch.copy_(IMAGES[start : start + 4])
                yield batch, LABELS[start : start + 4]

    items = read_items(Reusing())
    assert torch.equal(items.inputs, IMAGES) and torch.equal(items.targets, LABELS)


def test_on_disk_there_is_no_file_left_and_the_numbers_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)
    for dtype in (torch.float32, torch.uint8, torch.bfloat16, torch.bool):
        kept = read_items((IMAGES * 3).to(dtype), LABELS, keep="disk")
        assert torch.equal(kept.inputs, (IMAGES * 3).to(dtype)) and torch.equal(kept.targets, LABELS)
    assert list(tmp_path.iterdir()) == []


def test_items_of_any_structure_are_taken_and_put_together_again():
    batch = {"x": IMAGES, "more": (LABELS, ["a", "b"] * 10), "fixed": 3}
    parts = [take(batch, slice(0, 7)), take(batch, torch.arange(7, 20))]
    whole = concatenated(parts)
    assert torch.equal(whole["x"], IMAGES) and whole["more"][1] == ["a", "b"] * 10 and whole["fixed"] == 3


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)

    def forward(self, first, second=None):
        return self.conv1(first if second is None else first + second).flatten(1)


@pytest.mark.parametrize(
    ("options", "batches", "error", "message"),
    [
        ({"inputs": ["third"]}, None, PredicateError, "inputs names .'third'.; the model takes first, second"),
        ({"inputs": "first"}, None, PredicateError, "give a list of names"),
        ({"outputs": {"conv2": 0}}, None, PredicateError, "outputs names 'conv2', which the predicate does not choose"),
        ({"outputs": {"conv1": -1}}, None, PredicateError, "outputs.'conv1'. is -1"),
        ({"outputs": {"conv1": 1}}, [IMAGES], Exception, "no floating-point tensor number 1"),
        ({"forward": 3}, None, PredicateError, "forward is int"),
        ({"forward": lambda model, inputs: OTHER(inputs)}, [IMAGES], DataError, "does not call the model that it is handed"),
        ({"inputs": ["second"]}, [IMAGES], DataError, "inputs chooses 'second', which is not given"),
        ({}, [(IMAGES, IMAGES)], CalibrationError, r"Give \(\(first, second\), targets\)"),
        ({}, [{"first": IMAGES, "third": IMAGES}], CalibrationError, "third, which Two.forward does not take"),
    ],
)  # fmt: skip
def test_inputs_and_outputs_that_do_not_fit_are_a_sentence(options, batches, error, message):
    with pytest.raises(error, match=message):
        qmodel = QuantizedActivationsModel(Two(), conv2d_predicate, **options)
        calibrate(qmodel, batches)


OTHER = Two()


def test_more_numbers_than_in_the_calibration_are_refused():
    qmodel = QuantizedActivationsModel(Two(), conv2d_predicate)
    calibrate(qmodel, IMAGES)
    with pytest.raises(DataError, match="as 'second', and was calibrated with others"):
        qmodel(IMAGES, IMAGES)


@pytest.mark.parametrize("chosen", [None, ["first"], []])
def test_what_the_model_does_to_its_inputs_stays_inside(chosen):
    class Overwrites(Two):
        def forward(self, first, second):
            second.zero_()
            return super().forward(first.mul_(0), None)

    first, second = IMAGES.clone(), IMAGES.clone()
    qmodel = QuantizedActivationsModel(Overwrites(), conv2d_predicate, inputs=chosen)
    calibrate(qmodel, [((first, second), LABELS)])
    qmodel.bit_widths = [*[None] * (len(qmodel.names) - 1), 4]
    qmodel(first, second)
    assert torch.equal(first, IMAGES) and torch.equal(second, IMAGES)


def test_the_quantizer_of_another_input_is_not_put_on_the_first():
    qmodel = QuantizedActivationsModel(Two(), conv2d_predicate, inputs=["second"])
    calibrate(qmodel, [((IMAGES, IMAGES * 0.01), LABELS)])
    qmodel.bit_widths = [2, None]
    assert torch.equal(qmodel(IMAGES), qmodel.model(IMAGES))
    found = Evaluator(qmodel, IMAGES, LABELS % 2, batch_size=20, hardest_first=False).evaluate([2, None])
    with torch.no_grad():
        right = qmodel.model(IMAGES).argmax(dim=1) == LABELS % 2
    assert found.score == float(right.double().mean())
