"""Measuring while somebody waits: the same numbers, and the newest request."""

import random
import threading

import pytest
import torch

from qa_lib import Evaluator
from qa_lib.errors import BitWidthError
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.requests import LatestOnly


@pytest.mark.parametrize("reuse", [True, False], ids=["reuse", "no reuse"])
def test_its_numbers_are_the_evaluators(qmodel, images, labels, evaluator, reuse):
    live, fresh = LiveEvaluator(evaluator, reuse=reuse), Evaluator(qmodel, images, labels, batch_size=40)
    draw, widths = random.Random(0), [8, 8, 8, 8]
    for _ in range(30):
        widths[draw.randrange(4)] = draw.choice([2, 3, 4, 5, None])
        found = live.evaluate(widths)
        assert found == fresh.evaluate(widths)
        assert found.sums == fresh.evaluate(widths).sums


def test_what_the_archive_knows_is_not_run(evaluator, monkeypatch):
    live = LiveEvaluator(evaluator)
    expected = evaluator.evaluate([3, 3, 3, 3])
    monkeypatch.setattr(LiveEvaluator, "_measure", lambda *_: pytest.fail("it was run"))
    assert live.evaluate([3, 3, 3, 3]) == expected == live.recall([3, 3, 3, 3])
    assert live.recall([2, 3, 3, 3]) is None


def test_what_it_measures_is_in_the_archive(evaluator):
    LiveEvaluator(evaluator).evaluate([2, 5, 3, 4])
    before = evaluator.images_forwarded
    assert evaluator.evaluate([2, 5, 3, 4]).complete and evaluator.images_forwarded == before


def test_superseded_it_gives_up_and_the_next_is_right(qmodel, images, labels, evaluator):
    live = LiveEvaluator(evaluator)
    assert live.evaluate([2, 2, 2, 2], superseded=lambda: True) is None
    asked = iter([False, False, True])
    assert live.evaluate([2, 3, 2, 2], superseded=lambda: next(asked, True)) is None
    assert live.recall([2, 3, 2, 2]) is None
    fresh = Evaluator(qmodel, images, labels, batch_size=40)
    assert live.evaluate([2, 3, 2, 3]) == fresh.evaluate([2, 3, 2, 3])


def test_a_changed_amax_is_noticed(qmodel, images, labels, evaluator):
    live = LiveEvaluator(evaluator)
    live.evaluate([4, 4, 4, 4])
    quantizer = qmodel.activation_fake_quantizers["conv1"]
    quantizer.amax = quantizer.amax / 4
    fresh = Evaluator(qmodel, images, labels, batch_size=40)
    assert live.evaluate([4, 4, 4, 4]).score == fresh.evaluate([4, 4, 4, 4]).score


def test_classes_add_up(evaluator, images, labels, qmodel):
    found = LiveEvaluator(evaluator).by_class([3, 3, 3, 3])
    with qmodel.temporary_bit_widths([3, 3, 3, 3]), torch.no_grad():
        right = qmodel(images).argmax(dim=1) == labels
    assert found[0].tolist() == torch.bincount(labels[right], minlength=5).tolist()
    assert found[1].tolist() == torch.bincount(labels, minlength=5).tolist()


def test_wrong_widths_are_refused(evaluator):
    with pytest.raises(BitWidthError):
        LiveEvaluator(evaluator).evaluate([4, 4])


def test_it_leaves_torch_as_many_threads_as_it_had(evaluator):
    before = torch.get_num_threads()
    LiveEvaluator(evaluator).evaluate([5, 4, 3, 2])
    assert torch.get_num_threads() == before
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [before]


def test_the_newest_request_is_answered_and_older_ones_that_wait_are_dropped():
    begun, go_on, answered, told = threading.Event(), threading.Event(), [], []

    def answer(request, superseded):
        begun.set()
        go_on.wait(10)
        told.append(superseded())
        answered.append(request)

    requests = LatestOnly(answer, pytest.fail)
    requests.submit(1)
    assert begun.wait(10) and requests.busy
    for request in (2, 3, 4):
        requests.submit(request)
    go_on.set()
    assert requests.wait(10)
    assert answered == [1, 4] and told == [True, False]


def test_an_error_goes_to_whoever_asked_and_the_next_request_is_answered():
    errors, answered = [], []

    def answer(request, superseded):
        if request == "bad":
            raise ValueError(request)
        answered.append(request)

    requests = LatestOnly(answer, errors.append)
    requests.submit("bad")
    assert requests.wait(10)
    requests.submit("good")
    assert requests.wait(10)
    assert [str(error) for error in errors] == ["bad"] and answered == ["good"]


def test_cancelled_requests_are_not_answered():
    begun, go_on, answered = threading.Event(), threading.Event(), []

    def answer(request, superseded):
        begun.set()
        go_on.wait(10)
        answered.append((request, superseded()))

    requests = LatestOnly(answer, pytest.fail)
    requests.submit(1)
    assert begun.wait(10)
    requests.submit(2)
    requests.cancel()
    go_on.set()
    assert requests.wait(10)
    assert answered == [(1, True)]


def test_what_was_measured_across_a_calibration_is_measured_again(qmodel, images, labels):
    """Somebody calibrates in the middle of a measurement."""
    evaluator = Evaluator(qmodel, images, labels, batch_size=8, workers=1)
    live, asked = LiveEvaluator(evaluator), []
    live.evaluate([8] * 4)

    def calibrate_once():
        asked.append(1)
        if len(asked) == 5:
            quantizer = qmodel.activation_fake_quantizers["conv1"]
            quantizer.amax = quantizer.amax / 20
        return False

    found = live.evaluate([3] * 4, superseded=calibrate_once)
    fresh = Evaluator(qmodel, images, labels, batch_size=8, workers=1)
    assert len(asked) > 12 + 5 and found.score == fresh.evaluate([3] * 4).score
    assert evaluator.recall([3] * 4).score == found.score
