"""What does not fit is one sentence at the first batch; what obviously can be made to fit, works."""

import pytest
import torch
from torch import nn

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.errors import BitWidthError, CalibrationError, DataError, QAWarning


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_integer_type_are_labels(qmodel, images, labels, dtype):
    expected, found = Evaluator(qmodel, images, labels), Evaluator(qmodel, images, labels.to(dtype))
    for num_bits in (2, 3):
        assert found.evaluate_uniform(num_bits).sums == expected.evaluate_uniform(num_bits).sums


class Flattens(nn.Module):
    """With ``view``, which takes one layout only."""

    def __init__(self, size=None):
        super().__init__()
        self.conv, self.linear, self.size = nn.Conv2d(1, 4, 3), nn.Linear(64, 5), size

    def forward(self, images):
        return self.linear(self.conv(images).view(self.size or len(images), -1))


def test_a_network_that_flattens_with_view_is_shown_contiguous_images(images, labels):
    qmodel = QuantizedActivationsModel(Flattens(), conv2d_predicate)
    calibrate(qmodel, images)
    evaluator = Evaluator(qmodel, images, labels, batch_size=96, hardest_first=False)
    assert not evaluator.search_set.channels_last
    with torch.no_grad(), qmodel.temporary_bit_widths([3, 3]):
        right = int((qmodel.eval()(images).argmax(dim=1) == labels).sum())
    assert evaluator.evaluate([3, 3]).sums == ((right, 96),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images.double(), r"torch.float64 \(its weights are torch.float32\)"),
        (lambda images: images.expand(-1, 3, -1, -1), r"images of shape \(3, 6, 6\)"),
        (lambda images: images[..., :4], r"images of shape \(1, 6, 4\)"),
    ],
)
def test_images_that_do_not_fit_are_one_sentence(qmodel, tiny_model, images, labels, change, said):
    with pytest.raises(DataError, match=f"the model fails on 2 images.*{said}|{said}"):
        Evaluator(qmodel, change(images), labels)
    fresh = QuantizedActivationsModel(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 5)), conv2d_predicate
    )
    with pytest.raises(CalibrationError, match=f"the model fails on 96 images.*{said}|{said}"):
        calibrate(fresh, change(images))
    assert not any(module._forward_hooks for module in fresh.modules() if not isinstance(module, nn.Conv2d))


def test_a_batch_size_that_is_written_into_the_network_is_one_sentence(images, labels):
    qmodel = QuantizedActivationsModel(Flattens(size=32), conv2d_predicate)
    calibrate(qmodel, images.split(32))
    with pytest.raises(DataError, match="the model fails on 2 images.*any number at a time"):
        Evaluator(qmodel, images, labels, batch_size=32)


def test_batch_norms_without_statistics_are_said(images, labels):
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(64, 5)
    )
    qmodel = QuantizedActivationsModel(model, conv2d_predicate)
    calibrate(qmodel, images)
    with pytest.warns(QAWarning, match=r"without running statistics \(1\).*batches of 40"):
        Evaluator(qmodel, images, labels, batch_size=40)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_labels_are_labels_too(qmodel, images, labels, dtype):
    expected = Evaluator(qmodel, images, labels).evaluate_uniform(3)
    assert Evaluator(qmodel, images, labels.to(dtype)).evaluate_uniform(3).sums == expected.sums


@pytest.mark.parametrize(
    "change", [lambda out: (100 * out).int(), lambda out: out > 0, lambda out: out.to(torch.complex64)]
)
def test_logits_are_floating_point_numbers(images, labels, change):
    class Odd(Flattens):
        def forward(self, images):
            return change(super().forward(images))

    qmodel = QuantizedActivationsModel(Odd(), conv2d_predicate)
    calibrate(qmodel, images)
    with pytest.raises(DataError, match="accuracy needs logits, floating-point numbers"):
        Evaluator(qmodel, images, labels)


@pytest.mark.parametrize("given", [None, "44", {"input": 4}])
def test_candidates_are_a_list_of_settings(evaluator, given):
    with pytest.raises(BitWidthError, match="give a list of settings"):
        evaluator.evaluate_many(given)
