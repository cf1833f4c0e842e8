"""The oracle measures everything and then looks; the rule has to give the same front."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_evaluator import count_correct_plainly

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.batches.batched_set import BatchedSet
from qa_lib.batches.items import Items
from qa_lib.costs import total_bits
from qa_lib.evaluation.early_stop import Needed, StopRule
from qa_lib.evaluation.scoring import Scoring
from qa_lib.metrics import Accuracy
from qa_lib.search.run import SearchRun

pytestmark = pytest.mark.slow


def feasible_front(correct, images, min_accuracy):
    """Bit widths of the feasible candidates that no other candidate dominates, by definition."""
    feasible = {w: c for w, c in correct.items() if c / images >= min_accuracy}
    return {
        widths
        for widths, right in feasible.items()
        if not any(
            (c >= right and total_bits(w) <= total_bits(widths))
            and (c > right or total_bits(w) < total_bits(widths))
            for w, c in feasible.items()
        )
    }


@pytest.fixture(scope="module")
def space():
    """Every setting of 2, 3, 4 or 6 bits, and what each has right, counted by a plain loop."""
    from tiny import make_tiny_model

    images = torch.rand(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = make_tiny_model()(images).argmax(dim=1)

    def quantized():
        qmodel = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
        calibrate(qmodel, images)
        return qmodel

    candidates = list(itertools.product((2, 3, 4, 6), repeat=4))
    counts = {w: count_correct_plainly(quantized(), w, images, labels, 16) for w in candidates}
    return Evaluator(quantized(), images, labels, batch_size=16, hardest_first=True, workers=2), counts


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_the_one_of_measuring_everything(space, seed):
    evaluator, counts = space
    generator = random.Random(seed)
    candidates = list(counts)
    generator.shuffle(candidates)
    # Thresholds that some candidate meets exactly are the hard ones.
    min_accuracy = generator.choice([0.0, generator.random(), generator.choice(list(counts.values())) / 96])
    run = SearchRun(evaluator.using(None), min_accuracy)
    while candidates:
        size = generator.randint(1, 40)
        run.evaluate_many(candidates[:size])
        candidates = candidates[size:]
    complete = {w: round(96 * e.score) for w, e in run.evaluations.items() if e.complete}
    assert feasible_front(complete, 96, min_accuracy) == feasible_front(counts, 96, min_accuracy)
    assert complete.items() <= counts.items()
    stopped = [e for e in run.evaluations.values() if not e.complete]
    assert stopped
    assert all(counts[e.bit_widths] / 96 <= e.upper_bound for e in stopped)


def test_there_are_ties_to_get_wrong(space):
    _, counts = space
    front = feasible_front(counts, 96, 0.3)
    assert len({(counts[w], total_bits(w)) for w in front}) < len(front)


@given(
    answers=st.lists(
        st.tuples(st.tuples(st.integers(2, 4), st.integers(2, 4)), st.integers(0, 255)),
        min_size=1,
        max_size=30,
        unique_by=lambda answer: answer[0],
    ),
    min_right=st.integers(0, 8),
    handed_in=st.integers(1, 5),
    batch_size=st.integers(1, 3),
)
def test_any_answers_give_the_front_of_measuring_everything(answers, min_right, handed_in, batch_size):
    """Eight images: each candidate's right answers are the bits of a number."""
    labels = torch.zeros(8, dtype=torch.long)
    search_set = BatchedSet.cut(
        Items(torch.rand(8, 1), labels), torch.arange(8), batch_size, channels_last=False
    )
    scoring = Scoring(Accuracy(), search_set)
    completed = {}
    for start in range(0, len(answers), handed_in):
        chunk = dict(answers[start : start + handed_in])
        known = tuple((widths, correct / 8) for widths, correct in completed.items())
        needed = StopRule(min_right / 8, known).needed(chunk)
        for (widths, answer), least in zip(chunk.items(), needed, strict=True):
            task, right = scoring.task(widths, least), [answer >> image & 1 for image in range(8)]
            for index, size in enumerate(search_set.batch_sizes):
                if not task.finished:
                    added = np.array([sum(right[index * batch_size :][:size]), size])
                    task.take(search_set.batch_sizes, index, added, 0.0)
            assert answer.bit_count() / 8 <= scoring.evaluation(task).upper_bound
            if task.images == 8:
                completed[widths] = round(8 * scoring.evaluation(task).score)
    truth = {widths: answer.bit_count() for widths, answer in answers}
    assert feasible_front(completed, 8, min_right / 8) == feasible_front(truth, 8, min_right / 8)


def test_another_cost_decides_by_another_order():
    def cost(widths):
        return widths[0]

    completed = (((2, 9), 0.5),)
    candidates = [(2, 2), (3, 2), (2, 9)]
    nothing = -math.inf
    assert StopRule(0.0, completed, cost).needed(candidates) == [
        Needed(0.5, nothing), Needed(0.0, 0.5), Needed(0.5, nothing)
    ]  # fmt: skip
    assert StopRule(0.0, completed).needed(candidates) == [Needed(0.0), Needed(0.0), Needed(0.5)]
    assert StopRule(0.6, completed).needed(candidates) == [Needed(0.6)] * 3
    assert StopRule(more_than=0.7).needed(candidates) == [Needed(nothing, 0.7)] * 3


def test_a_score_that_is_asked_for_may_be_met_exactly_and_one_to_exceed_may_not():
    assert not Needed(at_least=0.7).out_of_reach(0.7) and Needed(at_least=0.7).out_of_reach(0.69)
    assert Needed(more_than=0.7).out_of_reach(0.7) and not Needed(more_than=0.7).out_of_reach(0.71)


def test_by_divergence_a_candidate_may_tie_at_the_same_cost_and_not_at_a_higher_one():
    rule = StopRule(0.3, (((2, 4), 0.5),), by="divergence")
    nothing = -math.inf
    assert rule.needed([(2, 2), (3, 3), (4, 4)]) == [
        Needed(0.3), Needed(0.3, nothing, 0.5), Needed(0.3, nothing, math.inf, 0.5)
    ]  # fmt: skip
    assert not Needed(divergence=0.5).out_of_reach(1.0, 0.5) and Needed(divergence=0.5).out_of_reach(
        1.0, 0.51
    )
    assert Needed(less_than=0.5).out_of_reach(1.0, 0.5) and not Needed(less_than=0.5).out_of_reach(1.0, 0.49)
