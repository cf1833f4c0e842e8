"""What is handed out, whoever takes it and whoever dies with it, makes what one worker after the other makes."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa_lib.forward.tasks import Board, Task

SIZES = [4, 4, 4, 4, 3]


def tasks(stops):
    """Candidates that stop once they have added so much."""

    def hopeless_at(stop):
        return lambda task: bool(task.total[0] >= stop)

    return [Task((index,), hopeless=hopeless_at(stop)) for index, stop in enumerate(stops)]


def added(index, batch):
    return np.array([1 + (index * 7 + batch * 3) % 4])


def expected(stops):
    found = tasks(stops)
    for index, task in enumerate(found):
        for batch in range(len(SIZES)):
            if not task.finished:
                task.take(SIZES, batch, added(index, batch), 1.0)
    return found


def facts(task):
    return (
        [each.tolist() for each in task.sums],
        task.total.tolist(),
        task.images,
        task.seconds,
        task.finished,
    )


@given(
    seed=st.integers(0, 10_000),
    stops=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    workers=st.integers(1, 5),
    most=st.integers(1, 6),
    deaths=st.floats(0, 0.4),
)
def test_any_workers_at_any_speed_find_what_one_finds(seed, stops, workers, most, deaths):
    chance, found, finished = random.Random(seed), tasks(stops), []
    board = Board(found, SIZES)
    with_somebody = []
    while not board.done:
        while len(with_somebody) < workers and (chosen := board.next(chance.randint(1, most))) is not None:
            with_somebody.append(chosen)
            if chance.random() < 0.2:
                with_somebody.append(board.again(chosen))
        chosen = with_somebody.pop(chance.randrange(len(with_somebody)))
        if chance.random() < deaths:
            board.give_back(chosen)
            continue
        stopped_by_itself = chance.randint(1, len(chosen.batches))
        results = [(added(chosen.task, batch), 1.0) for batch in chosen.batches[:stopped_by_itself]]
        if (task := board.take(chosen, results)) is not None:
            finished.append(task.bit_widths)
    for chosen in with_somebody:  # what is left comes late, and changes nothing
        assert board.take(chosen, [(added(chosen.task, batch), 1.0) for batch in chosen.batches]) is None
    assert [facts(task) for task in found] == [facts(task) for task in expected(stops)]
    assert sorted(finished) == [task.bit_widths for task in found]
    assert all(task.running == 0 for task in found)


def test_candidates_are_begun_in_their_order_and_helped_with_when_none_is_left():
    board = Board(tasks([99, 99]), SIZES)
    given = [board.next(2) for _ in range(6)]
    assert [(each.task, each.batches) for each in given] == [
        (0, range(0, 2)), (1, range(0, 2)), (0, range(2, 4)), (0, range(4, 5)), (1, range(2, 4)), (1, range(4, 5)),
    ]  # fmt: skip
    assert [each.from_the_front for each in given] == [True, True, False, False, False, False]
    assert board.next(2) is None and not board.done


def test_what_is_known_already_is_not_asked_for():
    (task,) = tasks([99])
    task.take(SIZES, 0, added(0, 0), 1.0)
    board = Board([task], SIZES)
    assert board.next(9).batches == range(1, 5)


@pytest.mark.parametrize("finished", [True, False])
def test_a_board_of_nothing_is_done(finished):
    done = tasks([1])
    done[0].finished = True
    assert Board(done if finished else [], SIZES).done
