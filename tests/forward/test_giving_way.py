"""A search waits for a hand, and the hand for nobody."""

import threading
import time

import pytest

from qa_lib import Evaluator
from qa_lib.forward.giving_way import ahead_of_others, give_way
from qa_lib.metrics import Accuracy

SETTINGS = [[a, b, 4, 4] for a in range(2, 6) for b in range(2, 6)]


class Counted(Accuracy):
    """Counts the batches that it is asked for."""

    name = "accuracy"

    def __init__(self):
        super().__init__()
        self.asked = 0

    def measure(self, outputs, targets):
        self.asked += 1
        time.sleep(0.005)
        return super().measure(outputs, targets)


@pytest.fixture
def counted(qmodel, images, labels):
    return Evaluator(qmodel, images, labels, batch_size=8, metric=Counted(), workers=2)


def test_candidates_pause_between_batches_and_are_what_they_are_without(counted, qmodel, images, labels):
    found = []
    search = threading.Thread(target=lambda: found.extend(counted.evaluate_many(SETTINGS)))
    search.start()
    time.sleep(0.1)
    with ahead_of_others():
        time.sleep(0.05)  # for what runs
        before = counted.metric.asked
        time.sleep(0.2)
        assert counted.metric.asked == before
    search.join(60)
    assert found == Evaluator(qmodel, images, labels, batch_size=8).evaluate_many(SETTINGS)


def test_what_is_ahead_does_not_wait_for_itself(counted):
    with ahead_of_others(), ahead_of_others():
        assert counted.evaluate([3, 3, 3, 3]).complete


def test_the_model_itself_does_not_wait_as_it_holds_its_lock(qmodel, images, labels):
    evaluator = Evaluator(qmodel, images, labels, replicas=False)
    found = []
    with ahead_of_others():
        search = threading.Thread(target=lambda: found.append(evaluator.evaluate([3, 3, 3, 3])))
        search.start()
        search.join(60)
    assert found[0].complete


def test_whoever_is_stopped_waits_no_longer():
    waiting = threading.Thread(target=give_way, args=(lambda: stopped,))
    stopped = False
    with ahead_of_others():
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        stopped = True
        waiting.join(60)
        assert not waiting.is_alive()


def test_after_an_error_nobody_waits():
    with pytest.raises(ValueError), ahead_of_others():
        raise ValueError
    give_way(lambda: False)
