"""Evaluators and searches by other scores than accuracy."""

import math

import numpy as np
import pytest
import torch
import torchmetrics
from plain_loop import run_plainly
from torch import nn

from qa_lib import Archive, Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore
from qa_lib.errors import DataError, MetricError, SearchError
from qa_lib.evaluation.early_stop import StopRule
from qa_lib.metrics import (
    PSNR,
    SQNR,
    Accuracy,
    Agreement,
    MeanIoU,
    MeanSquaredError,
    Metric,
    TorchMetric,
    per_item,
)
from qa_lib.search.pareto import non_dominated

SETTINGS = [tuple(row) for row in np.random.default_rng(0).integers(2, 7, (60, 4)).tolist()]


class Segmenter(nn.Module):
    """Three classes a pixel."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(6, 3, 1)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4

    def forward(self, images):
        inside = torch.relu(self.first(images))
        return self.head(torch.relu(self.second(inside)) + inside)


@pytest.fixture
def segmenter(images):
    model = Segmenter().eval()
    with torch.no_grad():  # so that each class is somewhere
        model.head.bias -= model(images).mean(dim=(0, 2, 3))
    quantized = QuantizedActivationsModel(model, conv2d_predicate)
    calibrate(quantized, images)
    return quantized


@pytest.fixture
def masks(segmenter, images):
    """What the float model says, some of it changed."""
    with torch.no_grad():
        found = segmenter.model(images).argmax(dim=1)
    generator = torch.Generator().manual_seed(2)
    wrong = torch.rand(found.shape, generator=generator) < 0.1
    return torch.where(wrong, torch.randint(3, found.shape, generator=generator), found)


@pytest.fixture
def clean(segmenter, images):
    with torch.no_grad():
        found = segmenter.model(images)
    return found + 0.05 * torch.randn(found.shape, generator=torch.Generator().manual_seed(4))


def by_hand(metric, qmodel, images, targets):
    """The scores of SETTINGS with the toolkit's own quantizers, in batches of 32 in the order of the images."""
    scores = []
    for widths in SETTINGS:
        outputs = run_plainly(qmodel, widths, images.split(32))
        added = [metric.measure(*batch) for batch in zip(outputs, targets.split(32), strict=True)]
        scores.append(metric.score(sum(added) if metric.additive else added))
    return scores


def all_metrics(masks, clean, segmenter, images):
    floats = torch.cat(run_plainly(segmenter, None, images.split(32)))
    jaccard = torchmetrics.JaccardIndex(task="multiclass", num_classes=3)

    def near(outputs, targets):
        return ((outputs - targets).abs() < 0.5).flatten(1).double().mean(dim=1)

    return {
        "mean IoU": (MeanIoU(3), masks, masks),
        "pixels": (Accuracy(), masks, masks),
        "MSE": (MeanSquaredError(), clean, clean),
        "PSNR": (PSNR(2.0), clean, clean),
        "per item": (per_item("near", near), clean, clean),
        "torchmetrics": (TorchMetric(jaccard), masks, masks),
        "agreement": (Agreement(), None, floats.argmax(dim=1)),
        "SQNR": (SQNR(), None, floats),
    }


NAMES = ("mean IoU", "pixels", "MSE", "PSNR", "per item", "torchmetrics", "agreement", "SQNR")


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_a_loop_with_the_toolkits_quantizers(name, segmenter, images, masks, clean):
    metric, given, targets = all_metrics(masks, clean, segmenter, images)[name]
    options = {"batch_size": 32, "channels_last": False, "hardest_first": False, "metric": metric}
    evaluator = Evaluator(segmenter, images, given, **options)
    found = [evaluation.score for evaluation in evaluator.evaluate_many(SETTINGS)]
    assert found == by_hand(metric, segmenter, images, targets)
    assert len(set(found)) > 20
    assert [e.score for e in evaluator.evaluate_many(SETTINGS, remeasure=True)] == found


@pytest.mark.parametrize("name", NAMES)
def test_stopping_early_loses_nothing_of_the_front(name, segmenter, images, masks, clean):
    metric, given, _ = all_metrics(masks, clean, segmenter, images)[name]
    truth = Evaluator(segmenter, images, given, batch_size=8, metric=metric).evaluate_many(SETTINGS)
    evaluator = Evaluator(segmenter, images, given, batch_size=8, metric=metric)
    least = float(np.median([e.score for e in truth]))
    found = []
    for start in range(0, len(SETTINGS), 6):
        completed = tuple((e.bit_widths, e.score) for e in found if e.complete)
        found += evaluator.evaluate_many(SETTINGS[start : start + 6], stop=StopRule(least, completed))
    complete = [e for e in found if e.complete and e.score >= least]
    feasible = [e for e in truth if e.score >= least]
    assert non_dominated(complete) == non_dominated(feasible)
    for stopped, whole in zip(found, truth, strict=True):
        assert stopped.upper_bound >= whole.score
    some_stop = any(not e.complete for e in found)
    assert some_stop == (name != "torchmetrics")


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_answers_the_next_process(name, segmenter, images, masks, clean, tmp_path):
    metric, given, _ = all_metrics(masks, clean, segmenter, images)[name]
    with Evaluator(segmenter, images, given, metric=metric, archive=tmp_path / "a.sqlite") as evaluator:
        first = evaluator.evaluate_many(SETTINGS)
    with Evaluator(segmenter, images, given, metric=metric, archive=tmp_path / "a.sqlite") as evaluator:
        before = evaluator.images_forwarded
        assert evaluator.evaluate_many(SETTINGS) == first
        assert evaluator.images_forwarded == before
        assert {e.bit_widths: e for e in evaluator.known()} == {e.bit_widths: e for e in first}


def test_other_metrics_never_read_each_others_rows(segmenter, images, masks):
    archive = Archive()
    for metric in (MeanIoU(3), MeanIoU(3, ignore_index=0), Accuracy(), Accuracy(2)):
        before = len(archive.to_frame())
        Evaluator(segmenter, images, masks, metric=metric, archive=archive).evaluate_uniform(4)
        assert len(archive.to_frame()) == before + 1


@pytest.mark.parametrize("name", ["mean IoU", "MSE", "PSNR", "torchmetrics", "SQNR"])
def test_a_search_by_any_score(name, segmenter, images, masks, clean):
    metric, given, _ = all_metrics(masks, clean, segmenter, images)[name]
    evaluator = Evaluator(segmenter, images, given, metric=metric)
    floats = evaluator.evaluate_uniform(None).score
    least = evaluator.evaluate_uniform(4).score
    exploration = explore(evaluator, min_score=least, evaluations=60, progress=False)
    column = exploration.scale.column
    assert exploration.front.columns[0] == column == exploration.evaluations.columns[0]
    assert (exploration.front[column] >= least).all() and len(exploration.front) > 2
    assert 0 < exploration.hypervolume <= 1.5
    for row in exploration.front.head(4).to_dict("records"):
        widths = [row[n] for n in segmenter.names]
        assert evaluator.evaluate(widths, remeasure=True).score == row[column]
    if name != "SQNR":
        assert exploration.float_evaluation.score == floats < metric.best
    nothing_asked = explore(evaluator, evaluations=30, progress=False)
    assert nothing_asked.min_score == metric.worst and nothing_asked.hypervolume > 0


def test_the_model_that_learns_helps_whatever_the_score(segmenter, images, clean):
    """Its predictions order settings that it has not seen: better than chance by far."""
    from scipy.stats import spearmanr

    from qa_lib import sensitivity
    from qa_lib.search.score_model import ScoreModel

    evaluator = Evaluator(segmenter, images, clean, metric=MeanSquaredError())
    table = sensitivity(segmenter, images)
    found = [e.score for e in evaluator.evaluate_many(SETTINGS)]
    floor = evaluator.evaluate_uniform(2).score
    model = ScoreModel(table, evaluator.evaluate_uniform(None).score, worst=floor, best=0.0)
    model.fit(SETTINGS[:40], found[:40], [False] * 40)
    assert spearmanr(model.predict(SETTINGS[40:]), found[40:]).statistic > 0.6


@pytest.mark.parametrize("metric", [Agreement(), SQNR()], ids=lambda m: m.name)
def test_what_is_compared_with_the_float_model_is_best_there(metric, segmenter, images):
    evaluator = Evaluator(segmenter, images, metric=metric, batch_size=7)
    assert evaluator.evaluate_uniform(None).score == metric.best
    assert evaluator.evaluate_uniform(8).score > evaluator.evaluate_uniform(2).score


def test_other_weights_leave_no_reference_behind(segmenter, images):
    evaluator = Evaluator(segmenter, images, metric=SQNR())
    evaluator.evaluate_uniform(4)
    with torch.no_grad():
        segmenter.model.head.weight.mul_(2)
    with pytest.raises(DataError, match="what its float outputs were before: make a new Evaluator"):
        evaluator.evaluate_uniform(4)


class Broken(Accuracy):
    def __init__(self, **parts):
        super().__init__()
        self.parts = parts

    def measure(self, outputs, targets):
        added = super().measure(outputs, targets)
        return self.parts["measure"](added) if "measure" in self.parts else added

    def score(self, sums):
        return self.parts["score"](super().score(sums)) if "score" in self.parts else super().score(sums)

    def perfect(self, targets):
        right, answers = super().perfect(targets)
        return torch.stack([right // (2 if "perfect" in self.parts else 1), answers])


class Unnamed(Metric):
    name = ""

    def measure(self, outputs, targets):
        return torch.ones(1)

    def score(self, sums):
        return 1.0


class Plain:
    """A metric that is no subclass of one."""

    name = "plain"

    def measure(self, outputs, targets):
        return torch.ones(1)

    def score(self, sums):
        return 1.0


class Companion(Accuracy):
    """Accuracy, with another divergence."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def divergence(self, outputs, kept):
        return self.of(super().divergence(outputs, kept))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Broken(measure=lambda added: added * math.nan), "measures NaN"),
        (Broken(measure=lambda added: 3), "measures int"),
        (Broken(measure=lambda added: added[None]), r"measures shape \(1, 2\)"),
        (Broken(measure=lambda added: added if added[1] > 32 else added[:1]), "numbers of a batch, and"),
        (Broken(measure=lambda added: 1 // 0), "raised ZeroDivisionError"),
        (Broken(score=lambda score: math.nan), "returns nan as its score"),
        (Broken(score=lambda score: "high"), "returns str as its score"),
        (Broken(score=lambda score: score + 1), "at most its best"),
        (Broken(perfect=True), r"its perfect\(\) promised"),
        (Accuracy, "an object, Accuracy"),
        (Unnamed(), "has no name"),
        (Plain(), r"metric is Plain, which has no unit: make it a subclass of qa_lib.metrics.Metric"),
        (Companion(lambda found: torch.zeros_like(found)), "is 0 for outputs of other items, too"),
        (Companion(lambda found: 1 + found), "of the float model's own outputs is 1"),
        (Companion(lambda found: torch.rand(len(found)).double()), "when it is measured again"),
        (Companion(lambda found: found * math.nan), "of the float model's own outputs is 1e"),
        ("accuracy", "metric is str; give a Metric"),
        (lambda outputs, targets: 1.0, "per_item"),
        (torchmetrics.MeanMetric(), "goes in TorchMetric"),
    ],
)
def test_a_metric_that_is_none_is_a_sentence(metric, message, qmodel, images, labels):
    with pytest.raises(MetricError, match=message):
        Evaluator(qmodel, images, labels, metric=metric, batch_size=40).evaluate_uniform(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_accuracy": 0.5}, "the score is the PSNR: say min_score="),
        ({"min_accuracy": 0.5, "min_score": 10}, "give one of them"),
        ({"min_score": math.inf}, "give a finite number"),
        ({"min_score": "high"}, "give a finite number"),
    ],
)
def test_a_least_score_that_is_none_is_a_sentence(options, message, segmenter, images, clean):
    evaluator = Evaluator(segmenter, images, clean, metric=PSNR())
    with pytest.raises(SearchError, match=message):
        explore(evaluator, progress=False, **options)


def test_labels_where_none_are_wanted_and_none_where_they_are(segmenter, images, masks):
    with pytest.raises(DataError, match="needs no labels"):
        Evaluator(segmenter, images, masks, metric=Agreement())
    with pytest.raises(DataError, match="labels is NoneType"):
        Evaluator(segmenter, images, metric=MeanIoU(3))


def test_endless_errors_are_worth_nothing_and_break_nothing(images, clean):
    class Breaks(Segmenter):
        def forward(self, images):
            outputs = super().forward(images)
            return outputs / (outputs.unique().numel() > 400)

    quantized = QuantizedActivationsModel(Breaks().eval(), conv2d_predicate)
    calibrate(quantized, images)
    with pytest.warns(UserWarning, match="NaN"):
        evaluator = Evaluator(quantized, images, clean, metric=MeanSquaredError(), batch_size=32)
        exploration = explore(evaluator, evaluations=40, progress=False)
    assert exploration.uniform_evaluations[2].score == -math.inf
    assert (exploration.front["negative_mean_squared_error"] > -math.inf).all()


def test_a_score_that_divides_whole_numbers_is_not_rounded_to_single_precision(qmodel, images, labels):
    class Share(Metric):
        name, unit, best = "share", "%", 1.0

        def measure(self, outputs, targets):
            return torch.tensor([(outputs.argmax(dim=1) == targets).sum(), len(targets)])

        def score(self, sums):
            return float(sums[0] / sums[1])

    own = Evaluator(qmodel, images, labels, metric=Share(), batch_size=40)
    ours = Evaluator(qmodel, images, labels, batch_size=40)
    for width in range(2, 9):
        assert own.evaluate_uniform(width).score == ours.evaluate_uniform(width).score


@pytest.mark.parametrize(
    "form", [lambda made: {"out": made}, lambda made: (made, made * 2), lambda made: [made]]
)
def test_models_that_return_something_around_a_tensor(form, clean):
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 3, 3, padding=1)
            self.norm, self.relu = torch.nn.BatchNorm2d(8), torch.nn.ReLU()

        def forward(self, images):
            return form(self.second(self.relu(self.norm(self.first(images)))))

    class First(MeanIoU):
        """Of whatever is around the classes' maps."""

        def measure(self, outputs, targets):
            return super().measure(
                next(iter(outputs.values() if isinstance(outputs, dict) else outputs)), targets
            )

        def margins(self, outputs, targets):
            return None

        def keep(self, outputs):
            return None

    torch.manual_seed(0)
    images, targets = torch.rand(12, 3, 6, 6), torch.randint(0, 3, (12, 6, 6))
    qmodel = QuantizedActivationsModel(Wrapped().eval(), conv2d_predicate)
    calibrate(qmodel, images)
    found = Evaluator(qmodel, images, targets, metric=First(3), batch_size=4).evaluate_uniform(3)
    with torch.no_grad(), qmodel.temporary_bit_widths([3] * 3):
        sums = sum(
            First(3).measure(qmodel(part), masks)
            for part, masks in zip(images.split(4), targets.split(4), strict=True)
        )
    assert found.score == First(3).score(sums.double())
