"""How far outputs are from the float model's: against torch's own divergences, as far as half precision goes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from qa_lib.metrics import Accuracy, Agreement, MeanIoU, MeanSquaredError, MultilabelF1
from qa_lib.metrics.divergence import keep_log_probabilities


def logits(seed, *shape):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kullback_leibler(outputs, reference):
    """Of each item, the mean over its places."""
    found, expected = (torch.log_softmax(each.double(), dim=1) for each in (outputs, reference))
    each = functional.kl_div(found, expected, log_target=True, reduction="none").sum(dim=1)
    return each.reshape(len(each), -1).mean(dim=1)


@pytest.mark.parametrize(
    ("metric", "shape"),
    [
        (Accuracy(), (7, 10)),
        (Accuracy(top_k=3), (7, 10)),
        (Accuracy(), (5, 4, 6)),
        (Agreement(), (7, 3)),
        (MeanIoU(4), (3, 4, 5, 6)),
    ],
    ids=["accuracy", "top-3", "an answer a token", "agreement", "mean IoU"],
)
def test_classes(metric, shape):
    reference, outputs = logits(1, *shape), logits(2, *shape)
    kept = metric.keep(reference)
    assert kept.dtype == torch.float16 and len(kept) == shape[0]
    found = metric.divergence(outputs, kept)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(kullback_leibler(outputs, reference).tolist(), rel=2e-3)
    assert metric.divergence(reference, kept).abs().max() < 1e-5
    if isinstance(metric, MeanIoU):
        assert torch.equal(metric.divergence({"out": outputs}, metric.keep({"out": reference})), found)


def test_yes_or_no_labels():
    reference, outputs = logits(1, 9, 4), logits(2, 9, 4)
    p, q = torch.sigmoid(reference.double()), torch.sigmoid(outputs.double())
    by_hand = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(dim=1)
    metric = MultilabelF1()
    kept = metric.keep(reference)
    assert metric.divergence(outputs, kept).tolist() == pytest.approx(by_hand.tolist(), rel=5e-3)
    assert metric.divergence(reference, kept).max() < 1e-5
    extreme = torch.tensor([[1e4, -1e4, 0.0, 0.0]])
    assert metric.divergence(extreme, metric.keep(extreme)).tolist() == [0.0]


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_below_zero_however_half_precision_rounds(seed):
    """So that a part of the items' divergences is never more than that of all."""
    reference = 10 ** logits(seed, 1, 1).abs().item() * logits(seed, 2000, 10)
    nearly = reference + 1e-4 * logits(seed + 10, 2000, 10)
    for outputs in (reference, nearly):
        assert float(Accuracy().divergence(outputs, Accuracy().keep(reference)).min()) >= 0.0


def test_classes_that_are_ruled_out():
    reference = torch.tensor([[0.0, 1.0, -math.inf]])
    kept = Accuracy().keep(reference)
    assert Accuracy().divergence(reference, kept).item() < 1e-5
    assert Accuracy().divergence(torch.tensor([[-math.inf, 0.0, 0.0]]), kept).item() == math.inf


def test_of_many_places_some_are_kept():
    dense = logits(3, 2, 21, 100, 100)
    kept = keep_log_probabilities(dense)
    assert 21 * 500 < kept[0].numel() <= 2**14
    places = np.arange(10_000)[:: math.ceil(21 * 10_000 / 2**14)]
    other = logits(4, 2, 21, 100, 100)
    some = [each.flatten(2)[:, :, places] for each in (other, dense)]
    assert MeanIoU(21).divergence(other, kept).tolist() == pytest.approx(
        kullback_leibler(*some).tolist(), rel=2e-3
    )


@pytest.mark.parametrize(
    "outputs", [torch.zeros(4), torch.zeros(4, 2, dtype=torch.int64), (torch.zeros(2, 2),)]
)
def test_what_are_no_logits_have_none(outputs):
    assert Accuracy().keep(outputs) is None
    assert MeanSquaredError().keep(torch.zeros(4, 2)) is None
