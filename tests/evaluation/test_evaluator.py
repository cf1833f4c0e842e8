"""The oracle is a plain loop over the images with the toolkit's quantizers."""

import itertools
import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch import nn

from qa_lib import (
    Archive,
    Evaluator,
    QAWarning,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    linear_predicate,
    load_workload,
)
from qa_lib.costs import total_bits
from qa_lib.errors import (
    ArchiveError,
    BitWidthError,
    DataError,
    DeviceError,
    NotCalibratedError,
    RemovedError,
)
from qa_lib.evaluation.early_stop import StopRule
from qa_lib.evaluation.meter import Meter
from qa_lib.evaluation.records import nearest_to_front
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn
from qa_lib.search.pareto import non_dominated
from qa_lib.search.yardstick import yardstick


def count_correct_plainly(qmodel, widths, images, labels, batch_size):
    """Correct answers with the toolkit's own quantizers, hooked up by hand."""
    quantizers, handles = {}, []
    for (name, ours), num_bits in zip(qmodel.activation_fake_quantizers.items(), widths, strict=True):
        quantizers[name] = toolkit_nn.TensorQuantizer(
            QuantDescriptor(num_bits=num_bits, amax=float(ours.amax_at(num_bits)), unsigned=ours.unsigned)
        )
    model = qmodel.remove()
    for name, module in model.named_modules():
        if name in quantizers:
            handles.append(module.register_forward_hook(lambda m, i, out, q=quantizers[name]: q(out)))
    correct = 0
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            logits = model(quantizers["input"](images[start : start + batch_size]))
            correct += (logits.argmax(1) == labels[start : start + batch_size]).sum().item()
    for handle in handles:
        handle.remove()
    return correct


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_total_bits_equal_a_plain_loop(qmodel, evaluator, images, labels, seed):
    widths = np.random.default_rng(seed).integers(2, 9, 4)
    evaluation = evaluator.evaluate(widths)
    correct = count_correct_plainly(qmodel, widths.tolist(), images, labels, 40)
    assert evaluation.score == correct / 96
    assert evaluation.sums[0][1] == 40 and sum(right for right, _ in evaluation.sums) == correct
    assert evaluation.total_bits == sum(widths.tolist())
    assert evaluation.bit_widths == tuple(widths.tolist())
    assert (evaluation.images, evaluation.complete) == (96, True)


@pytest.mark.slow
def test_accuracy_on_the_reference_workload_equals_a_plain_loop(workload):
    qmodel = QuantizedActivationsModel(load_workload("fashion_mnist").model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader())
    images, labels = workload.search_images[:512], workload.search_labels[:512]
    widths = np.random.default_rng(3).integers(4, 9, 17)
    evaluation = Evaluator(qmodel, images, labels, batch_size=128).evaluate(widths)
    correct = count_correct_plainly(qmodel, widths.tolist(), images, labels, 128)
    assert evaluation.score == correct / len(images)
    assert evaluation.score > 0.5


def test_the_same_widths_measure_the_same_again(evaluator):
    first, second = (evaluator.evaluate([3, 4, 2, 5], remeasure=again) for again in (False, True))
    assert first.score == second.score
    assert 0 < first.score < 1


def test_float_and_uniform(evaluator):
    reference = evaluator.evaluate_uniform(None)
    assert (reference.score, reference.total_bits, reference.mean_bits) == (1.0, 128, 32.0)
    assert evaluator.evaluate_uniform(5).bit_widths == (5, 5, 5, 5)


def test_a_mapping_differs_from_the_present_widths(qmodel, evaluator):
    qmodel.bit_widths = [7] * 4
    assert evaluator.evaluate({"conv2": 2}).bit_widths == (7, 7, 7, 2)


def test_evaluating_leaves_widths_modes_and_gradients_alone(qmodel, evaluator, images):
    qmodel.train()
    evaluator.evaluate([2] * 4)
    assert qmodel.bit_widths == (8, 8, 8, 8)
    assert qmodel.training
    assert qmodel(images).requires_grad


def test_threads_do_not_mix_their_widths(qmodel, evaluator):
    asked = [[2] * 4, [8] * 4, [3, 8, 2, 8], [5] * 4] * 5
    expected = [evaluator.evaluate(widths).score for widths in asked]
    assert len(set(expected)) > 1
    got = [None] * len(asked)

    def measure(index):
        got[index] = evaluator.evaluate(asked[index]).score

    threads = [threading.Thread(target=measure, args=(index,)) for index in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == expected


def test_evaluating_before_calibrating_is_an_error(tiny_model, images, labels):
    uncalibrated = Evaluator(QuantizedActivationsModel(tiny_model, conv2d_predicate), images, labels)
    with pytest.raises(NotCalibratedError, match=r"calibrate\(qmodel, batches\)"):
        uncalibrated.evaluate([4] * 4)
    assert uncalibrated.evaluate_uniform(None).score == 1.0


@pytest.mark.parametrize("bad", [[4] * 3, [4] * 5, [4, 4, 4, 2.5], [4, 4, 4, float("nan")], [1] * 4])
def test_bad_widths_are_refused(evaluator, bad):
    with pytest.raises(BitWidthError):
        evaluator.evaluate(bad)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i, y: (i, y[:-1]), "one label for each image"),
        (lambda i, y: (i, y[:, None]), "one label for each image"),
        (lambda i, y: (i[0, 0, 0, 0], y), "one label for each image"),
        (lambda i, y: (i[:0], y[:0]), "empty"),
        (lambda i, y: (i, y.float()), "integer class numbers"),
        (lambda i, y: (i, y - 3), "class numbers begin at 0"),
        (lambda i, y: (i.byte(), y), "images.float"),
        (lambda i, y: (i / 0, y), "NaN or infinity"),
        (lambda i, y: (i, y.tolist()), "labels are list; give a tensor"),
        (lambda i, y: (i.numpy().astype(str), y), "images is ndarray; give a tensor"),
    ],
)
def test_sets_that_do_not_fit_are_refused(qmodel, images, labels, change, said):
    with pytest.raises(DataError, match=said):
        Evaluator(qmodel, *change(images, labels))


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
def test_batch_sizes_that_are_none_are_refused(qmodel, images, labels, batch_size):
    with pytest.raises(DataError, match="batch_size"):
        Evaluator(qmodel, images, labels, batch_size=batch_size)


def test_images_on_another_device_are_refused(qmodel, images, labels):
    with pytest.raises(DeviceError, match="images are on 'meta'"):
        Evaluator(qmodel, images.to("meta"), labels)


def test_a_model_without_logits_is_refused(images, labels):
    qmodel = QuantizedActivationsModel(nn.Sequential(nn.Conv2d(1, 2, 1)), conv2d_predicate)
    calibrate(qmodel, images)
    with pytest.raises(DataError, match=r"logits of shape \(2, classes\)"):
        Evaluator(qmodel, images, labels).evaluate_uniform(4)


def test_labels_beyond_the_classes_are_refused(qmodel, images, labels):
    with pytest.raises(DataError, match="largest label is .*, but the model has 5 classes, 0 to 4"):
        Evaluator(qmodel, images, labels + 3).evaluate_uniform(4)


def test_a_removed_model_is_refused(qmodel, evaluator, images, labels):
    qmodel.remove()
    with pytest.raises(RemovedError):
        Evaluator(qmodel, images, labels)
    with pytest.raises(RemovedError):
        evaluator.evaluate_uniform(None)


def bit_width_grid(count, seed=0):
    return [tuple(w) for w in np.random.default_rng(seed).integers(2, 7, (count, 4)).tolist()]


def threads_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("min_accuracy", [0.0, 0.6])
def test_results_do_not_depend_on_workers_threads_or_order_of_work(qmodel, images, labels, min_accuracy):
    rule = StopRule(min_accuracy, (((4, 4, 4, 4), 70 / 96),))
    found, before = [], torch.get_num_threads()
    for workers, threads in ((1, 1), (2, 1), (2, 2), (5, 3)):
        torch.set_num_threads(threads)
        evaluator = Evaluator(qmodel, images, labels, batch_size=8, workers=workers)
        evaluations = evaluator.evaluate_many(bit_width_grid(30), stop=rule)
        # In this thread, and in one that begins later: torch keeps a setting for each.
        assert [torch.get_num_threads(), threads_of_a_new_thread()] == [threads, threads]
        found.append([(e.bit_widths, e.upper_bound, e.images, e.sums) for e in evaluations])
    torch.set_num_threads(before)
    assert [bit_widths for bit_widths, *_ in found[0]] == bit_width_grid(30)
    assert all(other == found[0] for other in found)
    assert any(images < 96 for _, _, images, _ in found[0])


@pytest.mark.slow
def test_what_the_archive_knows_does_not_change_where_a_candidate_stops(qmodel, images, labels):
    rule = StopRule(0.7)
    fresh, knowing = (Evaluator(qmodel, images, labels, batch_size=8) for _ in range(2))
    knowing.evaluate_many(bit_width_grid(30))
    before = knowing.images_forwarded
    stopped = [evaluator.evaluate_many(bit_width_grid(30), stop=rule) for evaluator in (fresh, knowing)]
    assert [(e.images, e.upper_bound, e.estimate) for e in stopped[0]] == [
        (e.images, e.upper_bound, e.estimate) for e in stopped[1]
    ]
    assert knowing.images_forwarded == before


def test_a_stopped_candidate_goes_on_from_where_it_stopped(qmodel, images, labels):
    evaluator = Evaluator(qmodel, images, labels, batch_size=8, workers=1)
    (stopped,) = evaluator.evaluate_many([[2, 2, 2, 2]], stop=StopRule(0.9))
    assert 0 < stopped.images < 96
    before = evaluator.images_forwarded
    whole = evaluator.evaluate([2, 2, 2, 2])
    assert whole.complete and whole.sums[: len(stopped.sums)] == stopped.sums
    assert evaluator.images_forwarded - before == 96 - stopped.images
    assert whole.score == evaluator.evaluate([2, 2, 2, 2], remeasure=True).score


def test_the_hardest_images_come_first(qmodel, images, labels):
    labels = labels.clone()
    labels[70:] = (labels[70:] + 1) % 5  # what the float model gets wrong
    hardest_first, as_given = (
        Evaluator(qmodel, images, labels, batch_size=13, hardest_first=hardest) for hardest in (True, False)
    )
    counts = tuple(correct for correct, _ in hardest_first.evaluate_uniform(None).sums)
    assert counts == (0, 0, *counts[2:]) and counts[3:-1] == (13,) * len(counts[3:-1])
    assert as_given.evaluate_uniform(None).sums[0] == (13, 13)
    for widths in bit_width_grid(10):
        assert hardest_first.evaluate(widths).score == as_given.evaluate(widths).score


def test_a_known_setting_runs_nothing(evaluator):
    first = evaluator.evaluate([3, 4, 2, 5])
    before = evaluator.images_forwarded
    assert evaluator.evaluate([3, 4, 2, 5]) == first
    assert evaluator.images_forwarded == before


@pytest.mark.parametrize("batch", range(3))
def test_interrupting_leaves_everything_as_it_was(qmodel, evaluator, monkeypatch, batch):
    count = Meter.measure

    def impatient(self, replica, index):
        if index == batch:
            raise KeyboardInterrupt
        return count(self, replica, index)

    hooks = [len(module._forward_hooks) for module in qmodel.modules()]
    threads = torch.get_num_threads()
    known = evaluator.known()
    with monkeypatch.context() as patch:
        patch.setattr(Meter, "measure", impatient)
        with pytest.raises(KeyboardInterrupt):
            evaluator.evaluate([3, 3, 3, 3])
    assert qmodel.bit_widths == (8, 8, 8, 8)
    assert [len(module._forward_hooks) for module in qmodel.modules()] == hooks
    assert qmodel.lock.acquire(blocking=False)
    qmodel.lock.release()
    assert evaluator.known() == known
    assert torch.get_num_threads() == threads
    assert not [thread for thread in threading.enumerate() if thread.name == "qa_lib worker"]
    assert evaluator.evaluate([3, 3, 3, 3]).complete


def test_an_interrupt_keeps_what_was_finished(qmodel, evaluator):
    def impatient(evaluation):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator.evaluate_many(bit_width_grid(8), on_evaluation=impatient)
    assert len(evaluator.known()) >= 1
    assert all(e.complete for e in evaluator.known())


def test_setting_widths_while_it_measures_changes_nothing(qmodel, evaluator):
    expected = [evaluator.evaluate(widths, remeasure=True).score for widths in bit_width_grid(20)]
    done = threading.Event()

    def fidget():
        while not done.is_set():
            qmodel.bit_widths = [2] * 4
            qmodel.bit_widths = [8] * 4

    thread = threading.Thread(target=fidget)
    thread.start()
    try:
        got = [evaluator.evaluate(widths, remeasure=True).score for widths in bit_width_grid(20)]
    finally:
        done.set()
        thread.join()
    assert got == expected


class Uncopyable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 6)
        self.lock = threading.Lock()

    def forward(self, images):
        return self.conv(images).flatten(1)


def test_a_model_that_cannot_be_copied_is_measured_itself_and_says_so(images):
    qmodel = QuantizedActivationsModel(Uncopyable(), conv2d_predicate)
    calibrate(qmodel, images)
    with torch.no_grad():
        labels = qmodel.model(images).argmax(dim=1)
    with pytest.warns(QAWarning, match="cannot be copied"):
        evaluator = Evaluator(qmodel, images, labels, batch_size=16, workers=2)
        evaluation = evaluator.evaluate([2, 3])
    assert qmodel.bit_widths == (8, 8)
    assert evaluation.score == count_correct_plainly(qmodel, [2, 3], images, labels, 16) / len(images)


def test_an_error_in_the_model_reaches_the_caller(images, labels):
    class Moody(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 5, 6)

        def forward(self, images):
            if len(images) == 7:
                raise RuntimeError("seven is too many")
            return self.conv(images).flatten(1)

    qmodel = QuantizedActivationsModel(Moody(), conv2d_predicate)
    calibrate(qmodel, images)
    with pytest.raises(DataError, match="fails on 7 images.*RuntimeError: seven is too many"):
        Evaluator(qmodel, images[:95], labels[:95], batch_size=8, hardest_first=False, workers=2)
    assert not [thread for thread in threading.enumerate() if thread.name == "qa_lib worker"]


def test_the_batch_size_follows_from_the_sizes_of_the_layers(qmodel, images, labels):
    assert Evaluator(qmodel, images, labels).search_set.batch_size == 128
    wide = QuantizedActivationsModel(
        nn.Sequential(nn.Conv2d(1, 64, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 64 * 64, 5)),
        conv2d_predicate,
    )
    evaluator = Evaluator(wide, torch.rand(4, 1, 64, 64), torch.arange(4))
    assert evaluator.search_set.batch_size == 16  # 262,144 numbers in an output
    assert evaluator.search_set.channels_last
    flat = QuantizedActivationsModel(nn.Sequential(nn.Linear(4, 5)), linear_predicate)
    assert not Evaluator(flat, torch.rand(4, 4), torch.arange(4)).search_set.channels_last


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_workers_that_are_none_are_refused(qmodel, images, labels, workers):
    with pytest.raises(DataError, match="workers"):
        Evaluator(qmodel, images, labels, workers=workers)


def test_nothing_asked_nothing_measured(evaluator):
    assert evaluator.evaluate_many([]) == []


def test_ctrl_c_itself_ends_an_evaluation_between_two_batches(qmodel, images, labels):
    evaluator = Evaluator(qmodel, images, labels, batch_size=1, workers=2)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    # A process that was started in the background ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            # Begins to count with the first one finished, however busy the machine.
            evaluator.evaluate_many(
                bit_width_grid(2_000), on_evaluation=lambda e: timer.ident or timer.start()
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [thread for thread in threading.enumerate() if thread.name == "qa_lib worker"]
    known = evaluator.known()
    assert known and all(e.complete for e in known)
    assert evaluator.evaluate(known[0].bit_widths, remeasure=True).score == known[0].score


def test_it_closes_the_archive_that_it_opened_and_no_other(qmodel, images, labels, tmp_path):
    path = tmp_path / "archive.sqlite"
    with Archive(path) as archive:
        with Evaluator(qmodel, images, labels, batch_size=8, archive=archive, workers=1) as evaluator:
            evaluator.evaluate_uniform(4)
            with evaluator.using(tmp_path / "other.sqlite") as other:
                other.evaluate_uniform(5)
        assert evaluator.recall([4] * 4) is not None
        with pytest.raises(ArchiveError, match="was closed"):
            other.known()
    with Evaluator(qmodel, images, labels, batch_size=8, archive=path, workers=1) as evaluator:
        assert evaluator.recall([4] * 4) is not None
    with pytest.raises(ArchiveError, match="was closed"):
        evaluator.known()


def test_of_much_that_is_known_the_front_and_what_is_near_it_is_read(evaluator):
    def cost(widths):
        return sum(index * num_bits for index, num_bits in enumerate(widths, 1))

    every = [e for e in evaluator.evaluate_many(itertools.product(range(2, 6), repeat=4)) if e.complete]
    assert {e.bit_widths for e in evaluator.best_known()} == {e.bit_widths for e in every}
    judge = yardstick("divergence", evaluator.using(None).evaluate_uniform(None), every, 0.0)
    for more in ({}, {"cost": cost}, {"limits": (3, 4)}, {"cost": cost, "limits": (3, 5)}):
        lower, upper = more.get("limits", (2, 8))
        within = [e for e in every if all(lower <= n <= upper for n in e.bit_widths)]
        found, by = evaluator.best_known(48, **more), more.get("cost", total_bits)
        assert len(found) == min(48, len(within))
        assert {e.bit_widths for e in found} <= {e.bit_widths for e in within}
        # As measured, and by divergence.
        for front in (non_dominated(within, by), non_dominated(within, by, judge)):
            assert len(front) <= 24 and {e.bit_widths for e in front} <= {e.bit_widths for e in found}
        assert all(e == evaluator.recall(e.bit_widths) for e in found)


def test_the_order_of_nearness_by_hand():
    costs, scores = np.array([3, 1, 2, 2, 4]), np.array([0.5, 0.4, 0.6, 0.5, 0.65])
    # (1, .4), (2, .6) and (4, .65) are the front; (2, .5) and (3, .5) lack .1 each.
    assert nearest_to_front(costs, scores).tolist() == [1, 2, 4, 3, 0]
