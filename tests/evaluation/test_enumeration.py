"""Every setting, the same as one by one."""

import itertools

import pytest
from torch import nn

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, explore
from qa_lib.errors import BitWidthError, SearchError
from qa_lib.evaluation import enumerate_settings, enumeration
from qa_lib.search.pareto import non_dominated

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_each_setting_is_what_it_measures_by_itself(qmodel, images, labels, workers):
    evaluator = Evaluator(qmodel, images, labels, batch_size=20, workers=workers)
    found = enumerate_settings(evaluator, num_bits_lower_limit=2, num_bits_upper_limit=5, progress=False)
    assert [e.bit_widths for e in found] == list(itertools.product(range(2, 6), repeat=4))
    assert all(e.complete for e in found)
    alone = Evaluator(qmodel, images, labels, batch_size=20)
    assert found == alone.evaluate_many(itertools.product(range(2, 6), repeat=4))
    assert [e.sums for e in found] == [alone.evaluate(e.bit_widths).sums for e in found]
    assert qmodel.bit_widths == (8, 8, 8, 8)


def test_it_is_in_the_archive_afterwards(qmodel, evaluator):
    found = enumerate_settings(evaluator, num_bits_lower_limit=3, num_bits_upper_limit=4, progress=False)
    before = evaluator.images_forwarded
    assert evaluator.evaluate_many(e.bit_widths for e in found) == found
    assert evaluator.images_forwarded == before


def test_of_two_layers(tiny_model, images, labels):
    qmodel = QuantizedActivationsModel(
        tiny_model, lambda module: module.kernel_size == (1, 1) if isinstance(module, nn.Conv2d) else False
    )
    calibrate(qmodel, images)
    found = enumerate_settings(Evaluator(qmodel, images, labels), progress=False)
    assert [e.bit_widths for e in found] == list(itertools.product(range(2, 9), repeat=2))


@pytest.mark.parametrize(("seed", "by"), [(1, "divergence"), (2, "score")])
def test_the_true_front_holds_or_dominates_every_point_that_a_search_finds(
    qmodel, evaluator, images, labels, seed, by
):
    truth = enumerate_settings(evaluator, num_bits_upper_limit=6, progress=False)
    options = {"num_bits_upper_limit": 6, "min_accuracy": 0.6, "progress": False, "seed": seed, "by": by}
    # On an evaluator of its own: the archive would hand over the truth.
    alone = Evaluator(qmodel, images, labels, batch_size=40)
    few = explore(alone, evaluations=12, population_size=8, **options)
    assert not few.front.empty
    rank = few.yardstick.rank
    front = non_dominated([e for e in truth if e.score >= 0.6], by=few.yardstick)
    for found in few.front_evaluations:
        assert any(rank(e) >= rank(found) and e.total_bits <= found.total_bits for e in front)
    many = explore(alone, evaluations=300, **options)
    front = [(many.yardstick.score(e), e.total_bits) for e in front]
    assert many.hypervolume >= 0.97 * many.hypervolume_box(front) > 0


def test_too_many_settings_are_refused(evaluator, monkeypatch):
    monkeypatch.setattr(enumeration, "MOST_SETTINGS", 2_000)
    with pytest.raises(
        SearchError, match=r"4 quantizers with 7 widths each have 2,401 settings.*explore\(\)"
    ):
        enumerate_settings(evaluator, progress=False)


def test_limits_are_checked(evaluator):
    with pytest.raises(BitWidthError):
        enumerate_settings(evaluator, num_bits_lower_limit=1)
