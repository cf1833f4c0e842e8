"""The metrics: against formulas written out by hand, and their bounds against everything that the rest might be."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qa_lib.errors import DataError, MetricError
from qa_lib.metrics import (
    PSNR,
    SQNR,
    Accuracy,
    Agreement,
    MeanIoU,
    MeanSquaredError,
    MultilabelF1,
    Scale,
    per_item,
)


def score(metric, outputs, targets):
    return metric.score(metric.measure(outputs, targets))


def near(outputs, targets):
    return ((outputs - targets).abs() < 0.5).flatten(1).double().mean(dim=1)


def numbers(seed, *shape, levels=5):
    """Few different numbers, so that ties and equal scores occur."""
    return torch.randint(levels, shape, generator=torch.Generator().manual_seed(seed)).float() - 1


# Each: a metric, and (seed, items) -> outputs and targets that fit it.
CASES = {
    "accuracy": (Accuracy(), lambda s, n: (numbers(s, n, 3), numbers(s + 1, n, levels=3).long() + 1)),
    "top-2": (Accuracy(top_k=2), lambda s, n: (numbers(s, n, 4), numbers(s + 1, n, levels=4).long() + 1)),
    "pixels": (
        Accuracy(),
        lambda s, n: (numbers(s, n, 3, 2, 2), numbers(s + 1, n, 2, 2, levels=3).long() + 1),
    ),
    "IoU": (MeanIoU(3), lambda s, n: (numbers(s, n, 3, 2, 2), numbers(s + 1, n, 2, 2, levels=3).long() + 1)),
    "IoU, some ignored": (
        MeanIoU(2, ignore_index=2),
        lambda s, n: (numbers(s, n, 2, 3), numbers(s + 1, n, 3, levels=3).long() + 1),
    ),
    "macro F1": (MultilabelF1(), lambda s, n: (numbers(s, n, 3), (numbers(s + 1, n, 3) > 1).long())),
    "micro F1": (
        MultilabelF1(0.6, average="micro"),
        lambda s, n: (numbers(s, n, 3), (numbers(s + 1, n, 3) > 1).long()),
    ),
    "MSE": (MeanSquaredError(), lambda s, n: (numbers(s, n, 2), numbers(s + 1, n, 2))),
    "PSNR": (PSNR(4.0), lambda s, n: (numbers(s, n, 2), numbers(s + 1, n, 2))),
    "SQNR": (SQNR(), lambda s, n: (numbers(s, n, 2), numbers(s + 1, n, 2))),
    "per item": (per_item("near", near), lambda s, n: (numbers(s, n, 2), numbers(s + 1, n, 2))),
}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), seen=st.integers(1, 3), rest=st.integers(1, 3))
def test_no_outputs_of_the_rest_score_more_than_perfect_ones(name, seed, seen, rest):
    metric, make = CASES[name]
    first, later = make(seed, seen), make(seed + 2, rest)
    added = metric.measure(*first)
    bound = metric.score(added + metric.perfect(later[1]))
    assert bound <= metric.best
    for tried in range(8):
        other, _ = make(seed + 10 * tried, rest)
        assert metric.score(added + metric.measure(other, later[1])) <= bound


def test_every_answer_that_there_is_for_the_rest_stays_below_the_bound():
    metric = MeanIoU(2)
    seen = metric.measure(torch.eye(2)[torch.tensor([[0, 1, 1]])].transpose(1, 2), torch.tensor([[0, 0, 1]]))
    for targets in itertools.product((0, 1), repeat=3):
        labels = torch.tensor([targets])
        bound = metric.score(seen + metric.perfect(labels))
        reached = [
            metric.score(seen + metric.measure(torch.eye(2)[torch.tensor([answer])].transpose(1, 2), labels))
            for answer in itertools.product((0, 1), repeat=3)
        ]
        assert max(reached) == bound


@pytest.mark.parametrize("name", CASES)
def test_batches_add_up_to_what_all_items_together_are(name):
    metric, make = CASES[name]
    outputs, targets = make(3, 12)
    parts = zip(outputs.split(5), targets.split(5), strict=True)
    assert metric.score(sum(metric.measure(*part) for part in parts)) == pytest.approx(
        score(metric, outputs, targets), rel=1e-12
    )


@pytest.mark.parametrize("name", CASES)
def test_what_was_measured_can_be_and_what_was_not_cannot(name):
    metric, make = CASES[name]
    batches = [make(seed, 4) for seed in (1, 5, 9)]
    added = np.array([metric.measure(*batch).numpy() for batch in batches], float)
    perfect = np.array([metric.perfect(targets).numpy() for _, targets in batches], float)
    assert metric.possible(added, perfect) and metric.possible(perfect, perfect)
    for wrong in (np.full_like(added, np.nan), added[:, :-1], added + 1000, -added - 1):
        assert not metric.possible(wrong, perfect)


@pytest.mark.parametrize(
    "name", [name for name, (metric, _) in CASES.items() if name not in ("SQNR", "macro F1", "micro F1")]
)
def test_items_with_the_lowest_margin_are_those_answered_worst(name):
    metric, make = CASES[name]
    outputs, targets = make(7, 30)
    margins = metric.margins(outputs, targets)
    assert margins.shape == (30,)
    order = torch.argsort(margins, stable=True)
    worst, best = order[:10], order[-10:]
    assert score(metric, outputs[worst], targets[worst]) <= score(metric, outputs[best], targets[best])


def test_mean_iou_is_the_mean_over_classes_of_the_shared_pixels():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, 8, 9, generator=generator)
    targets = torch.randint(4, (6, 8, 9), generator=generator)  # class 4 is in no target, but found
    targets[0, :3] = 255
    found, there = logits.argmax(dim=1).numpy(), targets.numpy()
    by_hand = []
    for each in range(5):
        kept = there != 255
        shared = ((found == each) & (there == each) & kept).sum()
        either = (((found == each) | (there == each)) & kept).sum()
        by_hand.append(shared / either)
    assert score(MeanIoU(5, ignore_index=255), logits, targets) == pytest.approx(np.mean(by_hand), rel=1e-12)
    assert score(MeanIoU(5, ignore_index=255), {"out": logits, "aux": None}, targets) == pytest.approx(
        np.mean(by_hand)
    )


def test_a_class_that_is_nowhere_is_left_out():
    logits = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]])
    assert score(MeanIoU(3), logits, torch.tensor([[0, 1]])) == 1.0
    assert score(MeanIoU(3, ignore_index=0), logits, torch.tensor([[0, 0]])) == 0.0


def test_psnr_and_sqnr_are_ratios_of_sums():
    generator = torch.Generator().manual_seed(1)
    clean = torch.rand(4, 3, 6, 6, generator=generator)
    noisy = clean + 0.05 * torch.randn(clean.shape, generator=generator)
    error = (noisy.numpy().astype(float) - clean.numpy()) ** 2
    assert score(PSNR(1.0), noisy, clean) == pytest.approx(10 * np.log10(1 / error.mean()), rel=1e-9)
    assert score(PSNR(255.0), noisy, clean) == pytest.approx(
        20 * np.log10(255) - 10 * np.log10(error.mean()), rel=1e-9
    )
    assert score(MeanSquaredError(), noisy, clean) == pytest.approx(-error.mean(), rel=1e-9)
    power = (clean.numpy().astype(float) ** 2).sum()
    assert score(SQNR(), noisy, SQNR().reference(clean)) == pytest.approx(
        10 * np.log10(power / error.sum()), rel=1e-9
    )
    assert score(PSNR(1.0), clean, clean) == score(SQNR(), clean, clean) == 80.0
    assert score(MeanSquaredError(), clean, clean) == 0.0
    assert math.copysign(1, score(MeanSquaredError(), clean, clean)) == 1


def test_top_k_counts_ranks_and_of_equal_logits_the_first():
    logits = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 5.0, math.nan]])
    for k, right in ((1, [1, 1, 0]), (2, [1, 1, 0])):
        assert Accuracy(k).measure(logits, torch.tensor([0, 0, 1])).tolist() == [sum(right), 3]
    labels = torch.tensor([2, 1, 1])
    assert [Accuracy(k).measure(logits, labels)[0].item() for k in (1, 2)] == [0, 1]
    with pytest.raises(DataError, match="top-3 accuracy of 3 classes is right whatever the model says"):
        Accuracy(3).measure(logits, labels)


def test_the_top_k_are_the_first_k_of_a_stable_order():
    logits, labels = numbers(4, 500, 6), numbers(5, 500, levels=6).long() + 1
    order = np.argsort(-logits.numpy(), axis=1, kind="stable")
    for k in (1, 2, 5):
        by_hand = (order[:, :k] == labels.numpy()[:, None]).any(axis=1).sum()
        assert Accuracy(k).measure(logits, labels).tolist() == [by_hand, 500]


def test_agreement_needs_no_labels():
    logits = numbers(2, 50, 4)
    assert not Agreement().needs_targets
    assert score(Agreement(), logits, Agreement().reference(logits)) == 1.0
    assert score(Agreement(), -logits, Agreement().reference(logits)) < 0.5


@pytest.mark.parametrize(
    "metric", [MeanIoU(2), MultilabelF1(), MeanSquaredError(), PSNR(), SQNR()], ids=lambda m: m.name
)
def test_nan_counts_as_wrong(metric):
    if isinstance(metric, MeanIoU):
        outputs, targets = torch.eye(2)[None], torch.tensor([[0, 1]])
    else:
        outputs, targets = torch.tensor([[3.0, 2.0]]), torch.tensor([[1, 1]])
        targets = targets if isinstance(metric, MultilabelF1) else targets.float()
    damaged = outputs.clone()
    damaged[0, ..., 0] = math.nan
    assert score(metric, damaged, targets) < score(metric, outputs, targets)
    added = metric.measure(damaged, targets).double()
    assert not bool(added.isnan().any())
    assert metric.possible(added.numpy()[None], metric.perfect(targets).numpy()[None])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Accuracy(0), "top_k is 0"),
        (lambda: MeanIoU(1), "classes is 1"),
        (lambda: MeanIoU(3, ignore_index="no"), "ignore_index"),
        (lambda: MultilabelF1(1.5), "threshold"),
        (lambda: MultilabelF1(average="all"), "average is 'all'"),
        (lambda: PSNR(0), "peak is 0"),
        (lambda: per_item("", near), "name is ''"),
        (lambda: per_item("near", 3), "function is int"),
    ],
)
def test_a_metric_that_cannot_be_is_a_sentence(make, message):
    with pytest.raises(MetricError, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "outputs", "targets", "message"),
    [
        (Accuracy(), torch.zeros(2, 3), torch.zeros(2, 1).long(), "one label for each image"),
        (Accuracy(), torch.zeros(2, 3, 4), torch.zeros(2, 5).long(), r"\(2, classes, 5\)"),
        (MeanIoU(3), torch.zeros(2, 4, 5), torch.zeros(2, 5).long(), r"logits of shape \(2, 3, 5\)"),
        (MeanIoU(3), torch.zeros(2, 3, 5), torch.full((2, 5), 3), "ignore_index= for pixels"),
        (MeanIoU(3), torch.zeros(2, 3), torch.zeros(2).long(), "a class number for each pixel"),
        (MeanIoU(3), torch.zeros(2, 3, 5), torch.zeros(2, 5), "integer class numbers"),
        (MultilabelF1(), torch.zeros(2, 3), torch.full((2, 3), 2), "other numbers than 0 and 1"),
        (MultilabelF1(), torch.zeros(2, 4), torch.zeros(2, 3), "a logit for each label"),
        (MeanSquaredError(), torch.zeros(2, 1), torch.zeros(2), "targets of the outputs' shape"),
        (PSNR(), [torch.zeros(2)], torch.zeros(2), "one floating-point tensor"),
        (SQNR(), torch.zeros(2).long(), torch.zeros(2), "one floating-point tensor"),
    ],
)
def test_outputs_and_targets_that_do_not_fit_are_a_sentence(metric, outputs, targets, message):
    with pytest.raises(DataError, match=message):
        metric.perfect(targets)
        metric.measure(outputs, targets)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda o, t: o.sum(), r"gives \(\) for 2 items"),
        (lambda o, t: o[:, 0] + 2, "from 0 to 1"),
        (lambda o, t: o[:, 0] * math.nan, "from 0 to 1"),
        (lambda o, t: "good", "gives str for 2 items"),
        (lambda o, t: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_what_a_users_function_returns_is_looked_at(function, message):
    with pytest.raises(MetricError, match=message):
        per_item("mine", function).measure(torch.zeros(2, 1), torch.zeros(2))


def test_scores_are_written_with_their_unit():
    assert Scale().text(0.9214) == "92.14%" and Scale().axis == Scale().column == "accuracy"
    ratio = Scale.of(PSNR())
    assert ratio.text(31.234) == "31.23 dB" and ratio.axis == "PSNR (dB)" and ratio.column == "PSNR"
    error = Scale.of(MeanSquaredError())
    assert error.text(-0.0123456) == "-0.01235" and error.column == "negative_mean_squared_error"
    assert Scale.of(Accuracy(5)).column == "top_5_accuracy"
    assert Scale().difference(0.0123) == "1.23 points" and ratio.difference(0.5, "+") == "+0.50 dB"
