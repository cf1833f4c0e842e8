"""A front on data that chose nothing, against scores and pairs that are counted by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import make_tiny_model

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore, plots
from qa_lib.errors import DataError, ReportError, SearchError
from qa_lib.metrics import SQNR, Accuracy, Agreement, MeanSquaredError, Metric
from qa_lib.search.intervals import drops_of_shares

NAMES = ("input", "shortcut", "conv1", "conv2")


def others(count=200, seed=7):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 6, 6, generator=random), torch.randint(5, (count,), generator=random)


@pytest.fixture
def exploration(evaluator):
    return explore(evaluator, evaluations=40, progress=False)


@pytest.fixture
def holdout(qmodel):
    images, labels = others()
    with torch.no_grad(), qmodel.temporary_bit_widths([None] * 4):
        answers = qmodel(images).argmax(dim=1)
    return Evaluator(qmodel, images, torch.where(labels > 2, answers, labels))  # right for many


def right_by_hand(qmodel, holdout, widths):
    found = []
    with torch.no_grad(), qmodel.temporary_bit_widths(widths):
        for images, labels in holdout.search_set.batches:
            found.append(qmodel(images).argmax(dim=1) == labels)
    return torch.cat(found).numpy()


def test_what_a_front_is_worth_on_items_that_chose_nothing(exploration, holdout, qmodel):
    checked = exploration.check(holdout)
    frame, front = checked.frame, exploration.front
    assert frame.columns[:7].tolist() == [
        "accuracy", "expected_score", "holdout_score", "holdout_drop", "low", "high", "total_bits"
    ]  # fmt: skip
    pd.testing.assert_frame_equal(frame[front.columns], front)
    reference = right_by_hand(qmodel, holdout, [None] * 4)
    settings = np.array([right_by_hand(qmodel, holdout, e.bit_widths) for e in exploration.front_evaluations])
    assert frame["holdout_score"].tolist() == [s.mean() for s in settings]
    assert frame["holdout_drop"].tolist() == pytest.approx(list(reference.mean() - settings.mean(axis=1)))
    # The uniform widths, too, and all intervals hold together.
    uniform = {n: right_by_hand(qmodel, holdout, [n] * 4) for n in range(2, 9)}
    low, high = drops_of_shares(reference, np.concatenate([settings, list(uniform.values())]))
    count = len(settings)
    assert np.array_equal(checked.low, low[:count]) and np.array_equal(checked.high, high[:count])
    baselines = checked.baselines()
    assert baselines.index.tolist() == ["float", *(f"{n} bits" for n in exploration.uniform_evaluations)]
    assert baselines.loc["float", ["holdout_score", "holdout_drop"]].tolist() == [reference.mean(), 0.0]
    assert baselines.loc["3 bits", "holdout_score"] == uniform[3].mean()
    assert baselines["low"].tolist()[1:] == [
        low[count + place] for place in range(len(exploration.uniform_evaluations))
    ]
    assert (frame["low"] <= frame["holdout_drop"]).all() and (frame["holdout_drop"] <= frame["high"]).all()
    assert checked.method.startswith("Tango") and checked.units == 200
    # Once more, the same, and kept in the hold-out evaluator's own archive.
    before = holdout.images_forwarded
    again = exploration.check(holdout)
    assert again.frame.equals(frame)
    assert holdout.images_forwarded == before


def test_it_is_measured_once_and_which_items_were_right_is_kept(exploration, qmodel, tmp_path):
    images, labels = others()
    archive = tmp_path / "archive.sqlite"
    holdout = Evaluator(qmodel, images, labels, archive=archive)
    before = holdout.images_forwarded
    checked = exploration.check(holdout)
    settings = {
        e.bit_widths for e in (*exploration.front_evaluations, *exploration.uniform_evaluations.values())
    }
    assert holdout.images_forwarded - before <= 200 * (len(settings) + 1) + 15 * 6
    holdout.close()
    # In another process: which items were right is in the archive, a bit for each.
    again = Evaluator(qmodel, images, labels, archive=archive)
    before = again.images_forwarded
    same = exploration.check(again)
    assert again.images_forwarded == before
    assert np.array_equal(same.low, checked.low) and same.told_apart() == checked.told_apart()
    rows = again.archive.read_all(again.fingerprint())
    assert {len(row.items) for row in rows} == {25} and all(row.divergences for row in rows)
    for row in rows:
        right = np.unpackbits(np.frombuffer(row.items, np.uint8), count=200)
        assert np.array_equal(right, right_by_hand(qmodel, again, row.bit_widths))


def test_the_figure_shows_drops_and_their_intervals(exploration, holdout, tmp_path):
    checked = exploration.check(holdout)
    data = plots.checked_drops(checked)
    frame = checked.frame
    assert data.costs.tolist() == frame["total_bits"].tolist() and data.items == 200
    assert data.held_out == pytest.approx(100 * frame["holdout_drop"])
    assert data.low == pytest.approx(100 * frame["low"]) and data.high == pytest.approx(100 * frame["high"])
    expected = 100 * (exploration.float_evaluation.score - frame["accuracy"])
    assert data.searched == pytest.approx(expected)
    figure = plots.plot_checked_front(checked)
    axes = figure.axes[0]
    assert axes.yaxis_inverted() and axes.get_ylabel() == "drop in accuracy (points)"
    shown = [line.get_xydata().tolist() for line in axes.lines]
    assert np.column_stack([data.costs, data.searched]).tolist() in shown
    assert np.column_stack([data.costs, data.held_out]).tolist() in shown
    figure.savefig(tmp_path / "drops.png")
    with pytest.raises(ReportError, match=r"what exploration.check\(\) returns"):
        plots.plot_checked_front(exploration)


def test_the_cheapest_that_loses_little_is_sure(exploration, holdout):
    checked = exploration.check(holdout, level=0.9)
    for max_drop in (0.99, np.float32(0.99), float(checked.high[-1]), float(checked.high.min())):
        chosen = checked.cheapest(max_drop)
        fit = [e for e, high in zip(checked.held_out, checked.high, strict=True) if high <= max_drop]
        assert chosen == fit[0]
    with pytest.raises(SearchError, match="with 90% confidence, and none was measured to: the least drop is"):
        dataclasses.replace(checked, held_out=checked.held_out[:3], high=checked.high[:3] + 1).cheapest(0.0)
    between = float((checked.drops.min() + checked.high.min()) / 2)
    with pytest.raises(SearchError, match=r"200 items are too few .*, some \d+ would be needed"):
        checked.cheapest(between)
    for wrong in (float("nan"), "0.01", None, True, 1, 5.0, -0.01):
        with pytest.raises(SearchError, match="max_drop is .*; give a share from 0 to below 1"):
            checked.cheapest(wrong)
    with pytest.raises(
        SearchError, match=r"with 90% confidence: 200 items are too few .*, and more would not do"
    ):
        dataclasses.replace(checked, high=checked.high + 1).cheapest(float(checked.drops.min()))
    assert "with 99.9%" in sentence_of(lambda: exploration.check(holdout, level=0.999).cheapest(0.0))


def sentence_of(call):
    with pytest.raises(SearchError) as raised:
        call()
    return str(raised.value)


def test_what_cannot_be_told_apart_is_left_out(exploration, holdout, qmodel):
    checked = exploration.check(holdout)
    kept = checked.told_apart()
    assert kept[0] == checked.held_out[0] and 1 <= len(kept) < len(checked.held_out)
    scores = [e.score for e in kept]
    assert scores == sorted(set(scores))
    each = 1 - 0.05 / (len(checked.held_out) - 1)
    present = kept[0]
    for evaluation in checked.held_out[1:]:
        pair = [right_by_hand(qmodel, holdout, e.bit_widths) for e in (evaluation, present)]
        low, _ = drops_of_shares(pair[0], pair[1][None], each)
        assert (low[0] > 0) == (evaluation in kept)
        present = evaluation if low[0] > 0 else present


class Pooled(Metric):
    """Right answers of a batch, of which only batches are a sum."""

    name, unit, best = "pooled", "%", 1.0

    def measure(self, outputs, targets):
        return torch.tensor([int((outputs.argmax(1) == targets).sum()), 1 + len(targets)])

    def score(self, sums):
        return float(sums[0] / sums[1])


class NoSum(Metric):
    name, unit, best, additive = "no sum", "%", 1.0, False

    def measure(self, outputs, targets):
        return int((outputs.argmax(1) == targets).sum())

    def score(self, sums):
        return min(1.0, sum(sums) / 1000)


@pytest.mark.parametrize(
    ("metric", "method"),
    [
        (Accuracy(top_k=2), "Tango"),
        (Agreement(), "Tango"),
        (MeanSquaredError(), "bootstrap over items"),
        (SQNR(), "bootstrap over items"),
        (Pooled(), "bootstrap over batches"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_any_score_that_is_a_sum(qmodel, images, labels, metric, method):
    shown, answers = others(64)
    if isinstance(metric, MeanSquaredError):
        labels, answers = torch.rand(len(images), 5), torch.rand(64, 5)
    given = [(labels,), (answers,)] if metric.needs_targets else [(), ()]
    evaluator = Evaluator(qmodel, images, *given[0], metric=metric, batch_size=8)
    found = explore(evaluator, evaluations=25, progress=False)
    holdout = Evaluator(qmodel, shown, *given[1], metric=metric, batch_size=8)
    checked = found.check(holdout)
    assert checked.method.startswith(method)
    scores = [holdout.evaluate(e.bit_widths).score for e in found.front_evaluations]
    assert checked.frame["holdout_score"].tolist() == scores
    assert (checked.low <= checked.drops + 1e-12).all() and (checked.drops <= checked.high + 1e-12).all()
    if method == "bootstrap over batches":
        assert checked.units == 8 and not checked.items_known
        with pytest.raises(SearchError, match="cannot be told apart by this metric"):
            checked.told_apart()
    else:
        _, sums = holdout.evaluate_items([e.bit_widths for e in found.front_evaluations])
        assert [metric.score(torch.from_numpy(s.sum(axis=0))) for s in sums] == pytest.approx(scores)
        assert len(checked.told_apart()) >= 1


def test_a_holdout_set_that_is_none_is_a_sentence(exploration, evaluator, holdout, qmodel, images, labels):
    with pytest.raises(DataError, match=r"96 of the hold-out set's 96 items are in the search set"):
        exploration.check(evaluator)
    shown, answers = others()
    mixed = Evaluator(qmodel, torch.cat([shown, images[:3]]), torch.cat([answers, labels[:3]]))
    with pytest.raises(DataError, match=r"3 of the hold-out set's 203 items are in the search set"):
        exploration.check(mixed)
    with pytest.raises(DataError, match=r"has 12 items, too few to say anything: give 30 or more"):
        exploration.check(Evaluator(qmodel, shown[:12], answers[:12]))
    with pytest.raises(
        DataError, match="the search was by accuracy, and the hold-out evaluator measures agreement"
    ):
        exploration.check(Evaluator(qmodel, shown, metric=Agreement()))
    for level in (0, 1, 1.5, 95, 1 - 1e-12, "0.95", None, True):
        with pytest.raises(SearchError, match="level is"):
            exploration.check(holdout, level=level)
    with pytest.raises(DataError, match="holdout is Tensor; give an Evaluator"):
        exploration.check(shown)
    repeated = Evaluator(qmodel, torch.cat([shown[:60]] * 3), torch.cat([answers[:60]] * 3))
    with pytest.raises(DataError, match="120 of the hold-out set's 180 items are there more than once"):
        exploration.check(repeated)
    other = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, inputs=())
    calibrate(other, images)
    with pytest.raises(DataError, match="of another model: give one of the model"):
        exploration.check(Evaluator(other, shown, answers))
    unfeasible = dataclasses.replace(exploration, min_score=1.01)
    with pytest.raises(SearchError, match="nothing that was measured is feasible"):
        unfeasible.check(holdout)
    calibrate(qmodel, images, method="percentile", percentile=80)
    with pytest.raises(DataError, match="another model, or it was calibrated or changed since"):
        exploration.check(Evaluator(qmodel, shown, answers))


@pytest.mark.parametrize(
    ("kept", "transform"),
    [
        (lambda images: images.double(), None),
        (lambda images: torch.where(images == 0, -0.0, images), None),
        (lambda images: (images * 256).round().to(torch.uint8), lambda batch: batch.float() / 256),
    ],
    ids=["in double precision", "zeros below zero", "bytes"],
)
def test_items_are_known_however_they_are_kept(qmodel, labels, kept, transform):
    images = (torch.rand(96, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 255).round() / 256
    found = explore(Evaluator(qmodel, images, labels), evaluations=10, progress=False)
    mixed = torch.cat([kept(images[:40]), kept(others(60)[0])])
    answers = torch.cat([labels[:40], labels[:60]])
    if mixed.dtype == torch.float64:
        qmodel.model.register_forward_pre_hook(lambda module, given: (given[0].float(),))
        found = explore(Evaluator(qmodel, images, labels), evaluations=10, progress=False)
    with pytest.raises(DataError, match=r"40 of the hold-out set's 100 items are in the search set"):
        found.check(Evaluator(qmodel, mixed, answers, transform=transform))


def test_few_batches_say_nothing_of_a_metric_that_is_a_sum_of_batches(qmodel, images, labels):
    found = explore(
        Evaluator(qmodel, images, labels, metric=Pooled(), batch_size=8), evaluations=10, progress=False
    )
    with pytest.raises(
        DataError, match=r"pooled is no sum over items, and the hold-out set has 2 batches, .*batch_size=6"
    ):
        found.check(Evaluator(qmodel, *others(), metric=Pooled(), batch_size=100))


def test_a_metric_that_is_no_sum_is_a_sentence(qmodel, images, labels):
    found = explore(Evaluator(qmodel, images, labels, metric=NoSum()), evaluations=10, progress=False)
    with pytest.raises(DataError, match="no sum is no sum over items or batches"):
        found.check(Evaluator(qmodel, *others(), metric=NoSum()))


def test_a_front_that_nothing_was_lost_of_is_not_sure_of_that(tiny_model):
    """Several answers an item, of which the float model has all: agreement with itself."""

    class PerPixel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 3, 1)

        def forward(self, images):
            return self.conv(images)

    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(PerPixel().eval(), conv2d_predicate)
    images = torch.rand(80, 1, 3, 3)
    calibrate(qmodel, images[:20])
    found = explore(
        Evaluator(qmodel, images[:40], metric=Agreement()),
        num_bits_upper_limit=14,
        evaluations=30,
        progress=False,
    )
    checked = found.check(Evaluator(qmodel, images[40:], metric=Agreement()))
    assert (checked.high - checked.low).min() > 0.01 and (checked.drops == 0).any()
    with pytest.raises(SearchError, match="loses nothing with 95% confidence"):
        checked.cheapest(0)


def test_what_is_said_of_a_front_is_of_that_front(exploration, holdout, evaluator):
    checked = exploration.check(holdout)
    said = exploration.summary(checked)
    within = float(said.split("true drops are within ")[1].split(" points")[0]) / 100 + 5e-5
    assert (checked.drops - checked.low <= within).all() and (checked.high - checked.drops <= within).all()
    other = explore(evaluator, evaluations=12, num_bits_upper_limit=4, progress=False)
    for wrong, message in (
        (other.check(holdout), "is of another front"),
        ("a", "checked is str; give what check"),
    ):
        with pytest.raises(SearchError, match=message):
            exploration.summary(wrong)


@pytest.mark.parametrize(
    ("drops", "said"),
    [
        ((0.01, 0.03), "the front loses 1.00 points to 3.00 points against"),
        ((-0.01, 0.03), "the front loses up to 3.00 points against"),
        ((-0.02, -0.01), "the front loses nothing against"),
    ],
)
def test_a_gain_is_no_loss_of_less_than_nothing(exploration, holdout, drops, said):
    checked = exploration.check(holdout)
    top = checked.float_held_out.score
    scores = np.linspace(*drops, len(checked.held_out))
    held_out = tuple(
        dataclasses.replace(e, upper_bound=top - drop, estimate=top - drop)
        for e, drop in zip(checked.held_out, scores, strict=True)
    )
    assert said in exploration.summary(dataclasses.replace(checked, held_out=held_out))


def test_an_interrupted_search_says_so_and_what_was_known_before(exploration, evaluator):
    seen = []

    def stop(evaluation):
        seen.append(evaluation)
        if len(seen) == 5:
            raise KeyboardInterrupt

    found = explore(
        evaluator, seed=9, num_bits_upper_limit=6, evaluations=30, progress=False, on_evaluation=stop
    )
    said = found.summary()
    assert found.interrupted and "before it was interrupted" in said
    assert (
        f"{len(found.archived):,} more were known from earlier searches" in said and len(found.archived) > 1
    )


def test_other_costs_are_in_its_tables(qmodel, evaluator, holdout):
    found = explore(
        evaluator, evaluations=20, cost="activation_traffic", other_costs=["bit_operations"], progress=False
    )
    checked = found.check(holdout)
    for frame in (checked.frame, checked.baselines()):
        assert {"activation_traffic", "bit_operations"} <= set(frame.columns)
    assert checked.frame["activation_traffic"].is_monotonic_increasing and checked.cost == found.cost
