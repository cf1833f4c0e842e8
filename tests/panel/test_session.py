"""What the instrument does, without a widget."""

import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
import torch
from tiny import TinyNet

from qa_lib import Archive, Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore
from qa_lib.errors import DataError, SearchError
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel.session import Session
from qa_lib.panel.view import View


class Recorder(View):
    """Writes down what it is told."""

    def __init__(self):
        self.told = []

    def show_setting(self, bit_widths):
        self.told.append(("setting", bit_widths))

    def show_measured(self, evaluation, standing):
        self.told.append(("measured", evaluation.bit_widths))

    def show_predicted(self, bit_widths, accuracy, state, error):
        self.told.append((state, bit_widths))

    def show_float(self, evaluation):
        self.told.append(("float", evaluation.score))

    def show_sensitivities(self, table):
        self.told.append(("sensitivities", table))

    def show_steps(self, steps):
        self.told.append(("steps", steps))

    def show_held(self, side, evaluation, by_class):
        self.told.append((side, evaluation.bit_widths, by_class.sum(dim=1).tolist()))

    def show_error(self, error):
        self.told.append(("error", type(error).__name__))

    def of(self, *kinds):
        return [each for each in self.told if each[0] in kinds]


@pytest.fixture
def view():
    return Recorder()


@pytest.fixture
def session(qmodel, evaluator, view):
    made = Session(evaluator)
    made.attach(view)
    assert made.wait(60)
    yield made
    assert made.wait(60)


def test_what_a_hand_does_is_predicted_then_measured(session, view, qmodel):
    view.told.clear()
    session.move((8, 8, 3, 8))
    assert view.told == [("let go to measure", (8, 8, 3, 8))]
    session.release((8, 8, 3, 8))
    assert session.wait(60) and qmodel.bit_widths == (8, 8, 3, 8)
    assert view.of("measuring …", "measured") == [("measuring …", (8, 8, 3, 8)), ("measured", (8, 8, 3, 8))]
    # All views, but the hand's own, which is there already.
    assert view.of("setting") == [("setting", (8, 8, 3, 8))]


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def written(evaluator, monkeypatch):
    """The settings that are measured, each as it is written down."""
    found, record = [], evaluator.record
    monkeypatch.setattr(
        evaluator, "record", lambda rows, facts: found.extend(row[0] for row in rows) or record(rows, facts)
    )
    return found


def test_where_a_hand_rests_is_measured_before_it_lets_go_and_once(session, view, qmodel, evaluator, written):
    for widths in ((8, 8, 5, 8), (8, 8, 4, 8), (8, 8, 3, 8)):  # and on, before it rests
        session.move(widths)
    until(lambda: evaluator.recall((8, 8, 3, 8)) is not None)
    assert written.count((8, 8, 3, 8)) == 1
    assert qmodel.bit_widths == (8, 8, 8, 8) and session.settled().bit_widths != (8, 8, 3, 8)
    view.told.clear()
    session.release((8, 8, 3, 8))
    assert session.wait(60) and view.of("measured") == [("measured", (8, 8, 3, 8))]
    assert written.count((8, 8, 3, 8)) == 1 and qmodel.bit_widths == (8, 8, 3, 8)
    assert session.evaluation == Evaluator(qmodel, *search_set(evaluator), batch_size=40).evaluate(
        (8, 8, 3, 8)
    )


def search_set(evaluator):
    items = evaluator.search_set.items
    return items.inputs, items.targets


@pytest.mark.parametrize("seconds", [0.0, 0.055], ids=["before it rests", "in the middle of it"])
def test_let_go_while_it_is_measured_ahead_it_is_measured_once(session, view, written, seconds):
    for num_bits in (3, 4, 5, 6):
        session.move((8, 8, num_bits, 8))
        time.sleep(seconds)
        session.release((8, 8, num_bits, 8))
        assert session.wait(60) and session.settled().bit_widths == (8, 8, num_bits, 8)
    until(lambda: not session.measuring.ahead.busy)
    assert len(written) == len(set(written)) == 4


@pytest.mark.parametrize("go", [lambda s: s.release((8, 8, 8, 4)), Session.undo], ids=["let go", "undo"])
def test_elsewhere_what_was_begun_is_given_up(session, evaluator, written, monkeypatch, go):
    session.set_bit_widths((8, 8, 8, 4))
    session.set_bit_widths((8, 8, 8, 8))
    begun, given_up, evaluate = threading.Event(), [], session.live.evaluate

    def slow(widths, *, superseded):
        if widths == (8, 8, 3, 8):
            begun.set()
            until(superseded)
            given_up.append(widths)
            return None
        return evaluate(widths, superseded=superseded)

    monkeypatch.setattr(session.live, "evaluate", slow)
    session.move((8, 8, 3, 8))
    assert begun.wait(20)
    go(session)
    assert session.wait(60) and session.settled().bit_widths == (8, 8, 8, 4)
    until(lambda: given_up)
    assert (8, 8, 3, 8) not in written


def held_up(session, monkeypatch, *slow):
    """Measurements of these settings begin, and end once ``go_on`` is set; returns both events."""
    begun, go_on, evaluate = threading.Event(), threading.Event(), session.live.evaluate

    def evaluated(widths, **options):
        found = evaluate(widths, **options)
        if widths in slow:
            begun.set()
            assert go_on.wait(20)
        return found

    monkeypatch.setattr(session.live, "evaluate", evaluated)
    return begun, go_on


def test_a_number_that_comes_while_a_hand_is_elsewhere_is_not_shown_as_that_hand_s(
    session, view, monkeypatch
):
    first, there = (8, 8, 3, 8), (8, 8, 3, 4)
    begun, go_on = held_up(session, monkeypatch, first)
    session.release(first)
    session.hold_present()
    assert begun.wait(20)
    session.move(there)
    view.told.clear()
    go_on.set()
    until(lambda: first in {e.bit_widths for e in session.points.evaluations})
    session.hold_present()  # of what was let go of last
    until(lambda: not session.measuring.requests.busy and session.live.recall(there) is not None)
    assert session.wait(60)
    assert not view.of("measured", "now")
    session.release(there)
    session.hold_present()
    assert session.wait(60)
    assert view.of("measured") == [("measured", there)] and view.of("now")[0][:2] == ("now", there)


def test_what_goes_wrong_while_a_hand_is_elsewhere_leaves_that_hand_its_prediction(
    session, view, monkeypatch
):
    begun, go_on = threading.Event(), threading.Event()

    def fails(widths, *, superseded):
        begun.set()
        assert go_on.wait(20)
        raise DataError("no")

    monkeypatch.setattr(session.live, "evaluate", fails)
    session.release((8, 8, 3, 8))
    assert begun.wait(20)
    session.move((8, 8, 3, 4))
    view.told.clear()
    go_on.set()
    until(lambda: view.of("error"))
    assert not view.of("not measured")


def test_what_is_set_by_a_call_is_measuring_until_it_is_measured(session, view):
    view.told.clear()
    session.set_bit_widths((8, 8, 3, 5))
    told = view.of("measuring …", "measured", "setting")
    assert [kind for kind, _ in told] == ["setting", "measuring …", "measured"]


def test_what_is_held_quickly_is_all_held(session, view, monkeypatch):
    begun, go_on = held_up(session, monkeypatch, (5,) * 4)
    for side, num_bits in (("A", 5), ("B", 6), ("A", 7)):
        session.load((num_bits,) * 4)
        session.hold(side)
    assert begun.wait(20)
    go_on.set()
    assert session.wait(60)
    assert view.of("A")[-1][1] == (7,) * 4 and view.of("B")[-1][1] == (6,) * 4


def test_what_fails_ahead_is_said_when_the_hand_lets_go(session, view, monkeypatch):
    def fails(widths, *, superseded):
        raise DataError("no")

    monkeypatch.setattr(session.live, "evaluate", fails)
    session.move((8, 8, 3, 8))
    until(lambda: not session.measuring.ahead.busy)
    assert not view.of("error")
    session.release((8, 8, 3, 8))
    assert session.wait(60) and view.of("error", "not measured") == [
        ("error", "DataError"),
        ("not measured", (8, 8, 3, 8)),
    ]


def test_what_is_set_moves_the_sliders_of_all_views(session, view):
    other = Recorder()
    session.attach(other)
    assert other.told == [("setting", (8, 8, 8, 8)), ("measured", (8, 8, 8, 8))]
    for each in (view, other):
        each.told.clear()
    session.set_bit_widths({"conv1": 5})
    session.undo()
    assert session.wait(60)
    assert view.of("setting") == other.of("setting") == [
        ("setting", (8, 8, 5, 8)), ("setting", (8, 8, 8, 8))
    ]  # fmt: skip
    assert other.of("measured")[-1] == view.of("measured")[-1] == ("measured", (8, 8, 8, 8))


def test_locked_layers_stay_in_what_goes_for_all(session, view):
    session.set_bit_widths([4, 4, 4, 4])
    session.lock(["conv1"])
    assert session.unlocked(None) == (None, None, 4, None)
    session.reset()
    assert session.wait(60) and session.bit_widths == (8, 8, 4, 8)
    steps = view.of("steps")[-1][1]
    assert {step.layer for step in (steps.gain, steps.save) if step} and "conv1" not in {
        step.layer for step in (steps.gain, steps.save) if step
    }


def test_a_setting_is_settled_once_it_is_measured(session, monkeypatch):
    go_on, measure = threading.Event(), LiveEvaluator.evaluate
    with monkeypatch.context() as patched:
        patched.setattr(
            LiveEvaluator, "evaluate", lambda self, *a, **o: go_on.wait(30) and measure(self, *a, **o)
        )
        session.load((3, 3, 3, 3))
        with pytest.raises(SearchError, match="not measured yet"):
            session.settled()
        go_on.set()
        assert session.wait(60)
    assert session.settled().bit_widths == (3, 3, 3, 3)


def test_holding_tells_of_the_classes(session, view):
    session.hold("A")
    assert session.wait(60)
    ((_, widths, (right, images)),) = view.of("A")
    assert widths == (8, 8, 8, 8) and images == 96 and right == round(96 * session.evaluation.score)
    with pytest.raises(SearchError, match="no 'C'"):
        session.hold("C")


def test_a_search_feeds_it(session, evaluator):
    session.take(evaluator.evaluate([7, 7, 7, 6]))
    assert session.wait(60)
    assert (7, 7, 7, 6) in {e.bit_widths for e in session.points.evaluations}
    assert session.points.to_frame(session.qmodel.names).shape == (len(session.points.evaluations), 7)


def test_points_of_before_a_calibration_are_forgotten(session, qmodel, evaluator, images):
    session.set_bit_widths([5, 4, 3, 4])
    before = session.points.evaluations
    calibrate(qmodel, (images * 0.02).split(40))
    session.set_bit_widths([3] * 4)
    assert session.wait(60)
    assert (5, 4, 3, 4) in {e.bit_widths for e in before}
    assert (5, 4, 3, 4) not in {e.bit_widths for e in session.points.evaluations}
    for point in session.points.evaluations:
        assert point == evaluator.evaluate(point.bit_widths, remeasure=True)


def test_what_was_measured_before_a_calibration_is_not_settled(session, view, qmodel, evaluator, images):
    session.set_bit_widths([3] * 4)
    before = session.settled()
    calibrate(qmodel, (images * 0.02).split(40))
    view.told.clear()
    with pytest.raises(SearchError, match="has changed since this was measured, .* do it again"):
        session.settled()
    assert session.wait(60)
    assert session.settled() == evaluator.evaluate([3] * 4, remeasure=True) != before
    assert view.of("float") and ("measured", (3, 3, 3, 3)) in view.told
    calibrate(qmodel, images[:40].split(40))
    session.take(evaluator.evaluate([7, 7, 7, 6]))  # of the model as it is now
    assert session.wait(60) and session.evaluation == evaluator.evaluate([3] * 4, remeasure=True)
    assert (7, 7, 7, 6) in {e.bit_widths for e in session.points.evaluations}
    qmodel.load_state_dict(qmodel.state_dict())  # which changes nothing
    assert session.settled() is session.evaluation


def test_what_goes_wrong_in_the_background_is_told(session, view, qmodel):
    qmodel.remove()
    session.release((8, 8, 3, 8))
    assert session.wait(60)
    assert view.of("error") == [("error", "RemovedError")] and view.told[-1] == ("not measured", (8, 8, 3, 8))


def test_what_a_hand_has_let_go_of_can_be_undone(session):
    session.release((8, 8, 3, 8))
    session.release((8, 8, 3, 4))
    session.undo()
    assert session.bit_widths == (8, 8, 3, 8)
    session.redo()
    assert session.wait(60) and session.bit_widths == (8, 8, 3, 4)


@pytest.mark.slow
def test_a_script_whose_last_line_begins_a_session_ends_as_any_other():
    script = """
import time
from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, load_workload
from qa_lib.panel.session import Session
from qa_lib.panel.view import View
workload = load_workload("fashion_mnist_convnet")
qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
calibrate(qmodel, workload.calibration_loader())
session = Session(Evaluator(qmodel, workload.search_images, workload.search_labels))
session.attach(View())
session.load([4] * 5)
time.sleep(0.5)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_sessions_keep_of_one_evaluator_is_kept_once(evaluator):
    first, second = Session(evaluator), Session(evaluator)
    assert first.live is second.live
    other = Session(evaluator.using(Archive()))
    assert other.live is not first.live
    kept = weakref.ref(first.live)
    del first, second
    gc.collect()
    assert kept() is None


def test_what_is_not_wanted_any_more_gives_up(evaluator):
    errors = []

    class Listening(View):
        def show_error(self, error):
            errors.append(error)

    session = Session(evaluator)
    session.attach(Listening())
    for queue in session.knowledge.queues:
        queue.cancel()
    assert session.wait() and errors == []


def test_an_evaluation_knows_what_it_was_measured_under(evaluator, qmodel, images):
    first = evaluator.evaluate([4] * 4)
    assert first.fingerprint == evaluator.fingerprint()
    assert evaluator.recall([4] * 4).fingerprint == evaluator.known()[-1].fingerprint == first.fingerprint
    calibrate(qmodel, images[:40].split(40), method="percentile")
    assert evaluator.evaluate([4] * 4).fingerprint == evaluator.fingerprint() != first.fingerprint


def test_evaluations_of_another_search_set_or_calibration_are_refused(
    session, qmodel, evaluator, images, labels
):
    before = evaluator.evaluate([4] * 4)
    other = Evaluator(qmodel, images[:80], labels[:80], batch_size=40)
    with pytest.raises(DataError, match="another model or search set"):
        session.take(other.evaluate([4] * 4))
    calibrate(qmodel, images[:40].split(40), method="percentile")
    after = evaluator.evaluate([4] * 4)
    session.take(after)  # and so sees that the model is another
    assert session.wait(60)
    with pytest.raises(DataError, match="before a calibration"):
        session.take(before)
    assert {e.fingerprint for e in session.points.evaluations} == {after.fingerprint}


def test_an_exploration_from_before_a_calibration_is_refused(evaluator, qmodel, images):
    exploration = explore(evaluator, evaluations=8, population_size=4, progress=False)
    Session(evaluator, exploration=exploration)
    calibrate(qmodel, images[:40].split(40), method="percentile")
    with pytest.raises(DataError, match="before a calibration"):
        Session(evaluator, exploration=exploration)


def test_a_closed_session_gives_back_its_memory_and_measures_still(session, evaluator):
    session.set_bit_widths([3] * 4)
    kept = [weakref.ref(worker) for worker in session.live._workers]
    assert kept
    session.close()
    gc.collect()
    assert not any(reference() for reference in kept)
    assert session.set_bit_widths([4] * 4) == evaluator.evaluate([4] * 4)


def test_the_float_model_is_followed_too(session, view, qmodel, evaluator):
    assert session.float_evaluation.score == 1.0
    with torch.no_grad():
        qmodel.model.classifier.weight.mul_(-1)
    session.set_bit_widths([8, 8, 8, 7])
    assert session.wait(60)
    assert (
        session.float_evaluation
        == evaluator.evaluate_uniform(
            None,
        )
        and session.float_evaluation.score < 0.9
    )
    assert view.of("float") == [("float", session.float_evaluation.score)]
    assert session.knowledge.float_evaluation is session.float_evaluation


class Sometimes(TinyNet):
    """Other answers for images that two of them say nothing of, by something that no list of a model's state holds."""

    def forward(self, images):
        outputs = super().forward(images)
        rare = images.mean((1, 2, 3)) > float(os.environ.get("QA_LIB_TEST_RARE", "9"))
        return torch.where(rare[:, None], -outputs, outputs)


def test_what_is_kept_of_another_model_is_not_measured(images, labels, monkeypatch):
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(Sometimes().eval(), conv2d_predicate)
    calibrate(qmodel, images.split(40))
    evaluator = Evaluator(qmodel, images, labels, batch_size=40, hardest_first=False)
    rare = images.mean((1, 2, 3)).sort().values[-12]
    session = Session(evaluator)
    session.set_bit_widths([4, 4, 4, 4])
    before = evaluator.fingerprint()
    monkeypatch.setenv("QA_LIB_TEST_RARE", str(float(rare)))
    assert evaluator.fingerprint() == before
    found = session.set_bit_widths([4, 4, 4, 5])
    assert evaluator.fingerprint() == before  # nothing shows it
    with torch.no_grad(), qmodel.temporary_bit_widths([4, 4, 4, 5]):
        right = sum(int((qmodel(x).argmax(1) == y).sum()) for x, y in evaluator.search_set.batches)
    assert [round(found.score * 96), right] == [right, right] and right < 96


def test_what_a_search_left_alone_is_locked(evaluator):
    exploration = explore(evaluator, fixed={"input": 8}, evaluations=10, progress=False)
    evaluator.qmodel.bit_widths = [8, 4, 4, 4]
    session = Session(evaluator, exploration=exploration)
    assert session.locked == ("input",) and session.unlocked(3) == (8, 3, 3, 3)
    assert Session(evaluator).locked == ()


def test_sliders_keep_to_what_was_searched(evaluator):
    rules = {"widths": [2, 4, 8], "fixed": {"input": 12}, "tied": [["shortcut", "conv2"]]}
    exploration = explore(evaluator, evaluations=10, progress=False, **rules)
    assert exploration.sensitivities.widths == (2, 4, 8, 12)
    evaluator.qmodel.bit_widths = [12, 4, 4, 4]
    session = Session(evaluator, exploration=exploration)
    session.attach(view := Recorder())
    assert session.wait()
    assert session.limits == (2, 12)
    assert session.unlocked(3) == (12, 4, 4, 4) and session.unlocked(None) == (12, None, None, None)
    assert [table for _, table in view.of("sensitivities")] == [
        exploration.sensitivities
    ]  # no others were measured
    uniform = dict(zip(session.points.uniform_num_bits, session.points.uniform, strict=True))
    assert {n: e.bit_widths for n, e in uniform.items()} == {n: (12, n, n, n) for n in (2, 4, 8)}
    steps = session.knowledge.next_steps((12, 4, 4, 4), session.locked)
    assert steps.gain.after == 8 and steps.save.after == 2
    together = {(12, *widths) for widths in ((2, 4, 2), (8, 4, 8), (4, 2, 4), (4, 8, 4))}
    assert {steps.gain.bit_widths, steps.save.bit_widths} <= together
    # A call may set anything.
    assert session.set_bit_widths([12, 3, 5, 8]).total_bits == 28
    assert np.isnan(session.knowledge.predict((12, 3, 5, 8)))


def test_a_session_is_there_once_for_what_shows_the_same(evaluator):
    first = Session.of(evaluator, min_accuracy=0.5)
    first.load((3, 4, 5, 6))
    assert first.wait(60)
    again = Session.of(evaluator, min_accuracy=0.5)
    assert again is first and again.history.can_undo
    evaluator.qmodel.bit_widths = [4, 4, 4, 4]  # whoever sets them wants them to be shown
    assert Session.of(evaluator, min_accuracy=0.5) is first and first.bit_widths == (4, 4, 4, 4)
    assert first.wait(60)
    exploration = explore(evaluator, min_accuracy=0.5, evaluations=12, progress=False)
    assert Session.of(evaluator, exploration=exploration) is first
    assert {e.bit_widths for e in exploration.measured} <= {e.bit_widths for e in first.points.evaluations}
    for other in ({}, {"min_accuracy": 0.6}, {"min_accuracy": 0.5, "cost": lambda widths: widths[0]}):
        assert Session.of(evaluator, **other) is not first
    assert Session.of(evaluator, 3, min_accuracy=0.5) is not first
    first.close()
    assert Session.of(evaluator, min_accuracy=0.5) is not first


def test_sessions_of_one_model_follow_each_other(session, view, evaluator):
    other = Session(evaluator, 3, 8)
    other.attach(Recorder())
    session.release((8, 8, 3, 8))
    assert session.wait(60) and other.wait(60)
    assert other.bit_widths == (8, 8, 3, 8) and other.settled().score == session.settled().score
    other.undo()
    assert session.wait(60) and other.wait(60)
    assert session.bit_widths == (8, 8, 8, 8) and session.history.can_undo
    session.set_bit_widths({"conv1": 2})  # which the other's sliders cannot show
    assert (
        other.wait(60)
        and other.bit_widths == (8, 8, 8, 8)
        and evaluator.qmodel.bit_widths == session.bit_widths
    )


def test_what_is_detached_is_told_nothing_until_it_is_attached_again(session, view):
    session.detach(view)
    view.told.clear()
    session.set_bit_widths({"conv1": 5})
    assert session.wait(60) and view.told == []
    session.attach(view)
    assert session.wait(60)
    assert view.of("setting") == [("setting", session.bit_widths)]
    assert {*view.of("measured")} == {("measured", session.bit_widths)}


class Searched(View):
    """Writes down how searches go."""

    def __init__(self):
        self.texts, self.shares, self.errors = [], [], []

    def show_search(self, text, share):
        self.texts.append(text)
        self.shares.append(share)

    def show_error(self, error):
        self.errors.append(error)


def test_a_search_from_the_instrument_is_what_explore_does(session, evaluator):
    session.attach(listening := Searched())
    session.search.begin(30, seed=3)
    with pytest.raises(SearchError, match="stop it first"):
        session.search.begin(30)
    assert session.search.wait(60) and session.wait(60) and not listening.errors
    alone = explore(
        evaluator.using(Archive()), full_passes=30, seed=3, sensitivities=session.table, progress=False
    )
    found = session.search.exploration
    assert [e.bit_widths for e in found.measured] == [e.bit_widths for e in alone.measured]
    assert found.front.equals(alone.front) and not found.interrupted
    assert {e.bit_widths for e in found.front_evaluations} <= {e.bit_widths for e in session.points.front}
    assert listening.texts[-1].startswith("done after 3") and listening.shares[-1] is None
    running = listening.shares[:-1]
    assert running[0] == 0.0 and running == sorted(running) and 0.2 < running[-1] <= 1.0


def test_a_search_leaves_locked_layers_and_can_be_stopped(session, evaluator):
    session.attach(listening := Searched())
    session.set_bit_widths({"conv1": 5})
    session.lock(["conv1"])
    session.search.begin(30)
    assert session.search.wait(60) and not listening.errors
    assert {e.bit_widths[2] for e in session.search.exploration.measured} == {5}
    session.search.begin(1e5)
    session.search.stop()
    assert session.search.wait(60) and session.search.exploration.interrupted
    assert listening.texts[-1].startswith("stopped after") and not listening.errors
    with pytest.raises(SearchError, match="give 30 or more"):
        session.search.begin(29)
    session.set_bit_widths({"conv1": None})
    with pytest.raises(SearchError, match="'conv1' is locked in float"):
        session.search.begin()


def test_how_far_predictions_were_off_is_told(session):
    class Predicted(View):
        def __init__(self):
            self.errors = []

        def show_predicted(self, bit_widths, score, state, error):
            self.errors.append((score, error))

    session.attach(listening := Predicted())
    off = []
    for setting in ((8, 8, 2, 8), (8, 2, 2, 8), (8, 2, 2, 2), (2, 2, 2, 2)):
        guess = session.knowledge.predict(setting)
        session.load(setting)
        assert session.wait(60)
        off.append(guess - session.settled().score)
        session.load(setting)  # of what is known nothing is learned
        assert session.wait(60)
    session.move((8, 8, 2, 3))
    (_, none), *_, (_, last) = listening.errors
    # What is the same everywhere was measured before.
    assert np.isnan(none) and last == pytest.approx(np.sqrt(np.mean(np.square(off[:3]))))


def test_what_is_prepared_is_said_until_it_is_done(evaluator):
    class Preparing(View):
        def __init__(self):
            self.texts = []

        def show_preparing(self, text):
            self.texts.append(text)

    session = Session(evaluator)
    session.attach(listening := Preparing())
    assert session.wait(60)
    assert "preparing: how much each layer minds each width, 28 of 28" in listening.texts
    assert listening.texts[-1] == ""


def test_a_model_that_is_calibrated_while_it_is_searched_is_measured_anew(session, qmodel, images):
    session.attach(listening := Searched())
    session.set_bit_widths([3] * 4)
    session.search.begin(1e5)
    while len(listening.shares) < 3:
        time.sleep(0.01)
    calibrate(qmodel, images[:40].split(40), method="percentile")
    assert session.search.wait(60) and session.wait(60) and listening.errors
    assert session.settled().fingerprint == session.evaluator.fingerprint()
    assert {e.fingerprint for e in session.points.evaluations} == {session.evaluator.fingerprint()}
