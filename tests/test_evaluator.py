"""The oracle is a plain loop over the images with the toolkit's quantizers."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, load_workload
from qa_lib.errors import BitWidthError, DataError, DeviceError, NotCalibratedError, RemovedError
from qa_lib.tensor_quantizer import QuantDescriptor, toolkit_nn


def count_correct_plainly(qmodel, widths, images, labels, batch_size):
    """Correct answers with the toolkit's own quantizers, hooked up by hand."""
    quantizers, handles = {}, []
    for (name, ours), num_bits in zip(qmodel.activation_fake_quantizers.items(), widths, strict=True):
        quantizers[name] = toolkit_nn.TensorQuantizer(
            QuantDescriptor(num_bits=num_bits, amax=float(ours.amax))
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
    assert evaluation.correct == correct
    assert evaluation.accuracy == correct / 96
    assert evaluation.total_bits == sum(widths.tolist())
    assert evaluation.bit_widths == tuple(widths.tolist())
    assert (evaluation.images, evaluation.complete) == (96, True)


def test_accuracy_on_the_reference_workload_equals_a_plain_loop(workload):
    qmodel = QuantizedActivationsModel(load_workload("fashion_mnist").model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader())
    images, labels = workload.search_images[:512], workload.search_labels[:512]
    widths = np.random.default_rng(3).integers(4, 9, 17)
    evaluation = Evaluator(qmodel, images, labels, batch_size=128).evaluate(widths)
    assert evaluation.correct == count_correct_plainly(qmodel, widths.tolist(), images, labels, 128)
    assert evaluation.accuracy > 0.5


def test_the_same_widths_measure_the_same_again(evaluator):
    first, second = (evaluator.evaluate([3, 4, 2, 5], remeasure=again) for again in (False, True))
    assert first.correct == second.correct
    assert 0 < first.correct < 96


def test_float_and_uniform(evaluator):
    reference = evaluator.evaluate_uniform(None)
    assert (reference.accuracy, reference.total_bits, reference.mean_bits) == (1.0, 128, 32.0)
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
    expected = [evaluator.evaluate(widths).correct for widths in asked]
    assert len(set(expected)) > 1
    got = [None] * len(asked)

    def measure(index):
        got[index] = evaluator.evaluate(asked[index]).correct

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
    assert uncalibrated.evaluate_uniform(None).accuracy == 1.0


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
        (lambda i, y: (i.numpy(), y), "images is ndarray; give a tensor"),
        (lambda i, y: (i, y.tolist()), "labels is list; give a tensor"),
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
