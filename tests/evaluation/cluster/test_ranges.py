"""How much a worker is given at once."""

import heapq

import numpy as np
import pytest

from qa_lib.evaluation.cluster.fleet import A_RANGE, Speed
from qa_lib.forward.tasks import Board, Task

BATCHES, SECONDS = 32, 0.01


def ended(candidates, workers):
    """When the last of ``workers`` ends, and how long the ranges took, where none of ``candidates`` stops early."""
    board, speed = Board([Task((index,)) for index in range(candidates)], [1] * BATCHES), Speed(SECONDS)
    running, lengths = [(0.0, worker, None) for worker in range(workers)], []
    while running:
        now, worker, given = heapq.heappop(running)
        if given is not None:
            board.take(given, [(np.ones(1), SECONDS)] * len(given.batches))
        if (chosen := board.next(speed.batches(board.left / workers))) is not None:
            lengths.append(len(chosen.batches) * SECONDS)
            heapq.heappush(running, (now + lengths[-1], worker, chosen))
    assert board.done and board.left == 0
    return now, lengths


@pytest.mark.parametrize(("candidates", "workers"), [(5, 8), (3, 2), (1, 4), (7, 16)])
def test_all_end_at_the_same_time(candidates, workers):
    least = candidates * BATCHES * SECONDS / workers
    end, _ = ended(candidates, workers)
    assert end <= least + 0.03


def test_handing_out_stays_a_small_part_of_the_work():
    _, lengths = ended(40, 2)
    assert len(lengths) <= 2 * 40 + 12  # a candidate takes longer than a range
    assert min(lengths[:-2]) >= 0.02 and max(lengths) <= A_RANGE


def test_who_is_not_known_gets_one_batch():
    assert Speed().batches(100) == 1
    speed = Speed()
    speed.learn(SECONDS)
    assert speed.batches(100) == round(A_RANGE / SECONDS)
