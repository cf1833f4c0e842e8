import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.items import Items
from qa_lib.evaluation import Evaluation
from qa_lib.evaluation.evaluation import images_saved
from qa_lib.evaluation.scoring import Scoring
from qa_lib.metrics import Accuracy, Metric


def scored(widths, counts, images, batch_size, metric=None):
    """What ``counts`` right answers in the first batches say about ``images`` images."""
    labels, order = torch.zeros(images, dtype=torch.long), torch.arange(images)
    search_set = BatchedSet.cut(Items(torch.zeros(images, 1), labels), order, batch_size, channels_last=False)
    scoring = Scoring(metric or Accuracy(), search_set)
    task = scoring.task(widths)
    for index, correct in enumerate(counts):
        task.take(search_set.batch_sizes, index, np.array([correct, search_set.batch_sizes[index]]), 0.0)
    return scoring.evaluation(task)


def test_a_complete_one_has_a_score_and_nothing_to_guess():
    whole = scored((4, None), (30, 30), 80, 40)
    assert whole.complete
    assert whole.score == whole.upper_bound == whole.estimate == 0.75
    assert (whole.total_bits, whole.mean_bits) == (36, 18.0)


def test_a_stopped_one_has_a_bound_and_no_score():
    stopped = scored((4, 4), (4, 10), 80, 20)
    assert not stopped.complete
    assert math.isnan(stopped.score)
    assert stopped.upper_bound == (14 + 40) / 80
    assert stopped.estimate == (14 + 40 * 10 / 20) / 80
    assert not stopped.score >= 0.0


@pytest.mark.slow
@given(st.lists(st.integers(0, 16), min_size=1, max_size=9), st.integers(0, 40), st.integers(0, 144))
def test_whatever_the_rest_would_have_been_the_bound_holds(counts, batches_left, right_later):
    images = 16 * len(counts)
    total = images + 16 * batches_left
    evaluation = scored((2,), counts, total, 16)
    truth = (sum(counts) + min(right_later, 16 * batches_left)) / total
    assert truth <= evaluation.upper_bound <= 1.0
    assert 0.0 <= evaluation.estimate <= evaluation.upper_bound


class WithoutBound(Metric):
    """The mean of what the batches say, where nobody knows what the rest may say."""

    name, best = "mean", 5.0

    def measure(self, outputs, targets):
        return torch.stack([outputs.sum(), torch.tensor(len(targets))])

    def score(self, sums):
        return float(sums[0] / sums[1])


def test_without_a_perfect_answer_the_bound_is_the_best_there_is_and_nothing_stops():
    stopped = scored((4, 4), (4, 10), 80, 20, WithoutBound())
    assert stopped.upper_bound == 5.0
    assert stopped.estimate == pytest.approx((14 + 40 * 10 / 20) / 80)
    assert scored((4, 4), (4, 10, 3, 0), 80, 20, WithoutBound()).score == pytest.approx(17 / 80)


def test_images_saved():
    assert images_saved([]) == 0.0
    part, whole = Evaluation((2,), 10, 40, 0.8, 0.1), Evaluation((3,), 40, 40, 0.5, 0.5)
    assert images_saved([part, whole]) == 30 / 80
