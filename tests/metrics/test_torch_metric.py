"""Metrics of torchmetrics, against a loop of one's own."""

import pytest
import torch
import torchmetrics
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MultilabelF1Score
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.image import PeakSignalNoiseRatio
from torchmetrics.regression import MeanAbsoluteError, PearsonCorrCoef

from qa_lib.errors import MetricError
from qa_lib.metrics import PSNR, MeanIoU, MultilabelF1, TorchMetric


def score(metric, outputs, targets):
    added = metric.measure(outputs, targets)
    return metric.score(added if metric.additive else [added])


@pytest.fixture(scope="module")
def numbers():
    return torch.Generator().manual_seed(3)


def test_it_is_what_a_loop_computes(numbers):
    logits, labels = torch.randn(40, 5, generator=numbers), torch.randint(5, (40,), generator=numbers)
    theirs = MulticlassF1Score(5, average="macro")
    metric = TorchMetric(theirs)
    parts = [metric.measure(*part) for part in zip(logits.split(7), labels.split(7), strict=True)]
    for part in zip(logits.split(7), labels.split(7), strict=True):
        theirs.update(*part)
    assert metric.score(parts) == float(theirs.compute())
    assert (metric.name, metric.unit, metric.best, metric.worst) == ("MulticlassF1Score", "%", 1.0, 0.0)


def test_less_is_better_becomes_its_negative(numbers):
    outputs, targets = torch.randn(9, generator=numbers), torch.randn(9, generator=numbers)
    metric = TorchMetric(MeanAbsoluteError())
    assert score(metric, outputs, targets) == -float((outputs - targets).abs().mean())
    assert metric.name == "negative MeanAbsoluteError" and metric.best == 0.0


def test_a_state_that_is_no_sum_is_whole(numbers):
    outputs, targets = torch.randn(30, generator=numbers), torch.randn(30, generator=numbers)
    metric = TorchMetric(PearsonCorrCoef(), name="correlation", higher_is_better=True)
    parts = list(zip(outputs.split(4), targets.split(4), strict=True))
    expected = torch.corrcoef(torch.stack([outputs, targets]))[0, 1]
    assert metric.score(parts) == pytest.approx(float(expected), abs=1e-5)


def test_ours_of_the_same_name_agree(numbers):
    logits, masks = torch.randn(6, 4, 9, 9, generator=numbers), torch.randint(4, (6, 9, 9), generator=numbers)
    theirs = torchmetrics.JaccardIndex(task="multiclass", num_classes=4)
    assert score(MeanIoU(4), logits, masks) == pytest.approx(
        score(TorchMetric(theirs), logits, masks), abs=1e-6
    )
    labels = (torch.randn(20, 3, generator=numbers) > 0).long()
    found = torch.randn(20, 3, generator=numbers)
    for average in ("macro", "micro"):
        theirs = MultilabelF1Score(num_labels=3, average=average)
        ours = score(MultilabelF1(average=average), found, labels)
        assert ours == pytest.approx(score(TorchMetric(theirs), found, labels), abs=1e-6)
    clean = torch.rand(4, 3, 8, 8, generator=numbers)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=numbers)
    theirs = PeakSignalNoiseRatio(data_range=1.0)
    assert score(PSNR(1.0), noisy, clean) == pytest.approx(score(TorchMetric(theirs), noisy, clean), abs=1e-4)


def test_mean_average_precision_by_hand():
    """Two boxes to find, one found first and one never, a wrong one between: precision 1 up to recall one half."""
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    found = [{"boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0], [90.0, 0.0, 99.0, 9.0]]), "scores": torch.tensor([0.9, 0.8]), "labels": torch.ones(2).long()}]  # fmt: skip
    there = [{"boxes": boxes, "labels": torch.ones(2).long()}]
    metric = TorchMetric(MeanAveragePrecision(), key="map")
    # COCO reads the precision at 101 recalls, of which 51 are at most one half.
    assert score(metric, found, there) == pytest.approx(51 / 101, abs=1e-6)
    assert metric.name == "map"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TorchMetric(MulticlassAccuracy), "metric is the class MulticlassAccuracy"),
        (lambda: TorchMetric(nn.Linear(1, 1)), "give an object of torchmetrics.Metric"),
        (lambda: TorchMetric(torchmetrics.MeanMetric()), "does not say whether more is better"),
        (lambda: score(TorchMetric(MulticlassAccuracy(3)), torch.zeros(2, 4), torch.zeros(3).long()), "raised"),
        (
            lambda: score(TorchMetric(MulticlassAccuracy(3, average="none")), torch.zeros(2, 3), torch.zeros(2).long()),
            "not one number",
        ),
        (
            lambda: score(TorchMetric(MeanAveragePrecision(), key="mAP"), [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0).long()}],
                          [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}]),
            "say which, TorchMetric",
        ),
    ],
)  # fmt: skip
def test_what_is_no_score_is_a_sentence(make, message):
    with pytest.raises(MetricError, match=message):
        make()
