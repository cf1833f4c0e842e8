import math

from hypothesis import given
from hypothesis import strategies as st

from qa_lib.evaluation import Evaluation
from qa_lib.evaluation.evaluation import images_saved


def test_a_complete_one_has_an_accuracy_and_nothing_to_guess():
    whole = Evaluation((4, None), 60, 80, 80, block_counts=(30, 30))
    assert whole.complete
    assert whole.accuracy == whole.upper_bound == whole.estimate == 0.75
    assert (whole.total_bits, whole.mean_bits) == (36, 18.0)


def test_a_stopped_one_has_a_bound_and_no_accuracy():
    stopped = Evaluation((4, 4), 14, 40, 80, block_counts=(4, 10))
    assert not stopped.complete
    assert math.isnan(stopped.accuracy)
    assert stopped.upper_bound == (14 + 40) / 80
    assert stopped.estimate == (14 + 40 * 10 / 20) / 80
    assert not stopped.accuracy >= 0.0


@given(st.lists(st.integers(0, 16), min_size=1, max_size=9), st.integers(0, 40), st.integers(0, 144))
def test_whatever_the_rest_would_have_been_the_bound_holds(counts, batches_left, right_later):
    images = 16 * len(counts)
    total = images + 16 * batches_left
    evaluation = Evaluation((2,), sum(counts), images, total, block_counts=tuple(counts))
    truth = (sum(counts) + min(right_later, 16 * batches_left)) / total
    assert truth <= evaluation.upper_bound <= 1.0
    assert 0.0 <= evaluation.estimate <= evaluation.upper_bound


def test_images_saved():
    assert images_saved([]) == 0.0
    assert images_saved([Evaluation((2,), 1, 10, 40), Evaluation((3,), 1, 40, 40)]) == 30 / 80
