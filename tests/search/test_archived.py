"""What an archive alone says of a search."""

import dataclasses
import math

import pandas as pd
import pytest
import torch

from qa_lib import Archive, Evaluator, explore
from qa_lib.errors import DataError, SearchError
from qa_lib.metrics import Metric
from qa_lib.report import write_page
from qa_lib.search import archived_exploration


class Rightness(Metric):
    """Of one's own: the archive cannot know what it is."""

    name, unit, best = "rightness", "%", 1.0

    def measure(self, outputs, targets):
        return torch.tensor([(outputs.argmax(dim=1) == targets).sum(), len(targets)])

    def score(self, sums):
        return float(sums[0] / sums[1])


@pytest.fixture
def searched(evaluator, tmp_path):
    """A search, and the archive that it left."""
    found = explore(
        evaluator,
        evaluations=30,
        population_size=10,
        min_accuracy=0.5,
        archive=tmp_path / "archive.sqlite",
        progress=False,
    )
    return found, Archive(tmp_path / "archive.sqlite")


def test_it_is_what_the_search_found(searched, tmp_path):
    found, archive = searched
    again = archived_exploration(archive, min_score=0.5)
    pd.testing.assert_frame_equal(again.front, found.front)
    pd.testing.assert_frame_equal(again.front_as_measured, found.front_as_measured)
    pd.testing.assert_frame_equal(again.baselines(), found.baselines())
    assert again.hypervolume == found.hypervolume and again.by == found.by == "divergence"
    assert again.sensitivities == found.sensitivities and again.full_passes == pytest.approx(
        found.full_passes
    )
    assert set(again.measured) == set(found.measured) and again.float_evaluation == found.float_evaluation
    stopped = [{(e.bit_widths, e.images, e.upper_bound) for e in each.stopped} for each in (again, found)]
    assert stopped[0] == stopped[1] != set()
    assert again.metric is not None and again.scale == found.scale
    write_page(again, tmp_path / "front.html")
    page = (tmp_path / "front.html").read_text(encoding="utf-8")
    assert "of calibration, seed and versions nothing was recorded" in page and "archive.sqlite" in page


def test_it_is_counted_anew_within_limits_by_score_and_by_a_table(searched, tmp_path):
    found, archive = searched
    narrow = archived_exploration(archive, num_bits_lower_limit=4, num_bits_upper_limit=7)
    assert all(4 <= n <= 7 for e in narrow.candidates for n in e.bit_widths)
    assert set(narrow.uniform_evaluations) == {4, 5, 6, 7} and narrow.num_bits_limits == (4, 7)
    assert narrow.min_score == -math.inf
    by_score = archived_exploration(archive, by="score", min_score=0.5)
    assert by_score.front_evaluations == dataclasses.replace(found, by="score").front_evaluations
    rows = [f"{name},{n},{n * n}" for name in found.names for n in range(2, 9)]
    (tmp_path / "energy.csv").write_text("\n".join(["layer,num_bits,value", *rows]))
    by_energy = archived_exploration(archive, cost=tmp_path / "energy.csv", min_score=0.5)
    cheapest = by_energy.front_evaluations[0]
    assert by_energy.cost(cheapest.bit_widths) == sum(n * n for n in cheapest.bit_widths)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fingerprint": "zz"}, "no fingerprint that begins with 'zz' has evaluations; those that have are "),
        ({"cost": "bit_operations"}, "is counted of a model, which an archive does not hold"),
        ({"num_bits_lower_limit": 10, "num_bits_upper_limit": 12}, "no setting from 10 to 12 bits"),
        ({"num_bits_lower_limit": 8, "num_bits_upper_limit": 2}, "swap them"),
    ],
)
def test_what_it_does_not_hold_is_said(searched, options, said):
    with pytest.raises(SearchError, match=said):
        archived_exploration(searched[1], **options)


def test_an_archive_of_nothing_and_one_without_the_float_model_say_so(evaluator, tmp_path):
    archive = Archive(tmp_path / "archive.sqlite")
    with pytest.raises(SearchError, match="no fingerprint has evaluations; those that have are none"):
        archived_exploration(archive)
    evaluator.using(archive).evaluate_uniform(4)
    with pytest.raises(SearchError, match="has no measurement of the float model"):
        archived_exploration(archive)


def test_which_items_chose_the_front_is_not_archived_so_that_it_is_not_checked(searched, evaluator):
    with pytest.raises(DataError, match="does not say which items have chosen the front"):
        archived_exploration(searched[1]).check(evaluator)


def test_scores_by_a_metric_of_ones_own_keep_their_unit(qmodel, images, labels, tmp_path):
    archive = Archive(tmp_path / "archive.sqlite")
    evaluator = Evaluator(qmodel, images, labels, metric=Rightness(), archive=archive)
    found = explore(evaluator, evaluations=8, population_size=8, progress=False)
    again = archived_exploration(archive)
    assert again.metric is None and again.scale == found.scale and again.scale.text(0.5) == "50.00%"
    assert again.by == "score"
    again = archived_exploration(archive, metric=Rightness())
    assert again.metric is not None and again.front_evaluations == found.front_evaluations
    with pytest.raises(DataError, match="the archive's scores are by rightness"):
        archived_exploration(archive, metric=type("Other", (Rightness,), {})())
