"""A replica is checked before it is believed: what holds on to the model, is random, or counts is refused by name."""

import contextvars
import copy
import threading
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from qa_lib import (
    Archive,
    Evaluator,
    IncrementalForward,
    QuantizedActivationsModel,
    calibrate,
    explore,
    sensitivity,
)
from qa_lib.batches.forward import evaluation_mode, one_torch_thread
from qa_lib.errors import CalibrationError, NotReproducibleError, PredicateError, QAWarning, ReplicaError
from qa_lib.evaluation import LiveEvaluator, enumerate_settings
from qa_lib.forward.comparing import same
from qa_lib.forward.replica_check import check_replica
from qa_lib.forward.replicas import make_replicas
from qa_lib.quantization import any_of, conv2d_predicate, linear_predicate


class Wrapped(nn.Module):
    """Does with the outputs, the inputs or itself what a case says."""

    def __init__(self, net, run):
        super().__init__()
        self.net, self.run, self.calls = net, run, 0
        self.register_buffer("count", torch.zeros(()))

    def forward(self, images):
        return self.run(self, images)


WORLD = {}


def patched(model):
    forward = model.forward
    model.forward = lambda images: forward(images)
    return model


def head_in_a_lambda(model):
    model.head = lambda images: model.classifier(images.flatten(1))

    def run(self, images):
        net = self.net
        return net.head(functional.relu(net.conv2(functional.relu(net.conv1(images))) + net.shortcut(images)))

    return Wrapped(model, run)


def closure(model):
    return Wrapped(nn.Identity(), lambda self, images: model(images))


def from_a_global(model):
    WORLD["model"] = model
    return Wrapped(model, lambda self, images: WORLD["model"](images))


def copied_by_reference(model):
    model.conv2.__class__ = type("Shared", (nn.Conv2d,), {"__deepcopy__": lambda self, memo: self})
    return model


def in_place_count(self, images):
    self.count += 1
    return self.net(images)


def new_count(self, images):
    self.count = self.count + 1
    return self.net(images)


def plain_count(self, images):
    self.calls += 1
    return self.net(images)


HOLDS_ON = [patched, head_in_a_lambda, from_a_global, copied_by_reference]


def seeded(self, images):
    torch.manual_seed(3)
    return self.net(images) + torch.randn(5)


def own_generator(self, images):
    generator = torch.Generator().manual_seed(3)
    return self.net(images) + torch.randn(5, generator=generator)


def scratch(self, images):
    self.count.copy_(images.sum())
    out = self.net(images) + 0 * self.count
    self.count.zero_()
    return out


def remembers_the_shape(self, images):
    self.input_shape = images.shape
    return self.net(images)


def adds_what_it_counts(self, images):
    self.calls += 1
    return self.net(images) + self.calls * torch.arange(5)


RANDOM = {
    "dropout": (lambda self, images: functional.dropout(self.net(images), 0.5), "second time.*random"),
    "noise on the input": (
        lambda self, images: self.net(images + 0.1 * torch.randn_like(images)),
        "second time.*random",
    ),
    "a counter that is used": (adds_what_it_counts, "second time, as it changes 'model.calls'"),
    "the global generator, seeded": (seeded, "global generator"),
}
HARMLESS = {
    "buffer": (in_place_count, "'count'"),
    "another buffer": (new_count, "'count'"),
    "attribute": (plain_count, "'model.calls'"),
    "scratch": (scratch, None),
    "the last shape": (remembers_the_shape, None),
    "a generator of its own": (own_generator, None),
}


def quantized(model, images):
    qmodel = QuantizedActivationsModel(model, any_of(conv2d_predicate, linear_predicate))
    calibrate(qmodel, images)
    return qmodel


def by_hand(model, images, labels, widths):
    """A plain loop over a quantized model that nothing was copied of."""
    model.bit_widths = widths
    with torch.no_grad(), evaluation_mode(model), one_torch_thread():
        return int((model(images).argmax(dim=1) == labels).sum())


@pytest.mark.parametrize("change", HOLDS_ON)
def test_what_holds_on_to_the_model_is_refused_and_measured_itself_on_request(
    tiny_model, images, labels, change
):
    qmodel = quantized(change(tiny_model), images)
    with pytest.raises(ReplicaError, match=r"a copy of the model calls .*replicas=False"):
        Evaluator(qmodel, images, labels)
    evaluator = Evaluator(qmodel, images, labels, batch_size=len(images), hardest_first=False, replicas=False,
                          channels_last=False)  # fmt: skip
    live = LiveEvaluator(evaluator)
    for num_bits in (2, 3, 8):
        widths = [num_bits] * len(qmodel.names)
        right = by_hand(qmodel, images, labels, widths)
        qmodel.bit_widths = [8] * len(qmodel.names)
        assert evaluator.evaluate(widths).sums[0][0] == right
        with pytest.warns(QAWarning, match="apart") if num_bits == 2 else pytest.MonkeyPatch.context():
            live.prepare()
        assert live.by_class(widths)[0].sum() == right
    assert qmodel.bit_widths == (8,) * len(qmodel.names)


def test_what_cannot_get_a_quantizer_is_another_matter(tiny_model, images, labels):
    """The chosen modules are not in the model that holds on to them by a closure."""
    with pytest.raises(PredicateError):
        QuantizedActivationsModel(closure(tiny_model), conv2d_predicate)


@pytest.mark.parametrize("case", RANDOM)
def test_what_is_random_is_refused(tiny_model, images, labels, case):
    run, match = RANDOM[case]
    qmodel = quantized(Wrapped(tiny_model, run), images)
    for options in ({}, {"replicas": False}, {"hardest_first": False, "workers": 1}):
        with pytest.raises(NotReproducibleError, match=match):
            Evaluator(qmodel, images, labels, **options)
    with pytest.raises(NotReproducibleError, match=match):
        IncrementalForward(qmodel, images)
    with pytest.raises(NotReproducibleError, match=match):
        sensitivity(qmodel, images, progress=False)


@pytest.mark.parametrize("case", HARMLESS)
def test_what_changes_and_is_not_used_is_said_and_measured(tiny_model, images, labels, case, tmp_path):
    run, said = HARMLESS[case]
    qmodel = quantized(Wrapped(tiny_model, run), images)
    given = {"batch_size": 8, "workers": 2, "archive": tmp_path / "archive.sqlite"}
    with pytest.warns(QAWarning, match=f"changes {said} as it runs") if said else nullcontext():
        evaluator = Evaluator(qmodel, images, labels, **given)
    widths = [2] * len(qmodel.names)
    right = sum(by_hand(qmodel, x, y, widths) for x, y in evaluator.search_set.batches)
    for _ in range(3):
        found = evaluator.evaluate(widths, remeasure=True)
        assert sum(correct for correct, _ in found.sums) == right
    before = evaluator.images_forwarded
    assert evaluator.evaluate(widths) == found and evaluator.images_forwarded == before
    assert LiveEvaluator(evaluator).evaluate([3] * len(widths)).complete


def test_what_becomes_wrong_later_is_found_when_it_is_measured(tiny_model, images, labels):
    qmodel = quantized(Wrapped(tiny_model, lambda self, images: self.net(images)), images)
    evaluator = Evaluator(qmodel, images, labels)
    before = evaluator.evaluate_uniform(4)
    qmodel.model.run = RANDOM["dropout"][0]
    with pytest.raises(NotReproducibleError):
        evaluator.evaluate_uniform(3)
    qmodel.model.run = lambda self, images: self.net(images)
    assert evaluator.evaluate_uniform(4).score == before.score


@pytest.mark.parametrize("change", HOLDS_ON)
def test_wherever_a_copy_stands_for_the_model(tiny_model, images, labels, change):
    qmodel = quantized(change(copy.deepcopy(tiny_model)), images)
    plain = quantized(copy.deepcopy(tiny_model), images) if change is patched else None
    with pytest.warns(QAWarning, match="a copy of the model calls"):
        forward = IncrementalForward(qmodel, images)
    assert not forward.traced
    with evaluation_mode(qmodel), torch.inference_mode(), qmodel.temporary_bit_widths([3] * 5):
        assert torch.equal(forward([3] * 5), qmodel(images))
    with pytest.warns(QAWarning, match="a copy of the model calls"):
        table = sensitivity(qmodel, images, progress=False)
    if plain is not None:
        assert (table.divergence == sensitivity(plain, images, progress=False).divergence).all()
    with pytest.raises(CalibrationError, match="a copy of the model calls"):
        calibrate(qmodel, images, method="output", progress=False)
    evaluator = Evaluator(qmodel, images, labels, replicas=False)
    with pytest.raises(ReplicaError):
        enumerate_settings(evaluator, num_bits_upper_limit=3, progress=False)


@pytest.mark.slow
def test_a_search_on_the_model_itself_finds_what_one_on_copies_finds(tiny_model, images, labels):
    plain = quantized(copy.deepcopy(tiny_model), images)
    holding = quantized(patched(tiny_model), images)
    options = {"seed": 3, "evaluations": 30, "population_size": 10, "progress": False}
    expected = explore(Evaluator(plain, images, labels, workers=1), **options)
    with pytest.warns(QAWarning, match="apart"):
        found = explore(Evaluator(holding, images, labels, replicas=False), **options)
    assert found.front.equals(expected.front)


def test_the_check_leaves_no_trace(qmodel, images):
    (replica,) = make_replicas(qmodel, 1)
    hooks = [len(module._forward_pre_hooks) for module in qmodel.modules()]
    for quantizer in qmodel.activation_fake_quantizers.values():
        quantizer.unsigned = True
    qmodel.train()
    widths, negatives = qmodel.bit_widths, [q.negatives for q in qmodel.activation_fake_quantizers.values()]
    (replica,) = make_replicas(qmodel, 1)
    check_replica(qmodel, replica, images)
    assert qmodel.bit_widths == widths and qmodel.training
    assert [q.negatives for q in qmodel.activation_fake_quantizers.values()] == negatives
    assert [len(module._forward_pre_hooks) for module in qmodel.modules()] == hooks


def test_a_replica_with_other_numbers_is_refused(qmodel, images):
    (replica,) = make_replicas(qmodel, 1)
    replica.activation_fake_quantizers["input"].amax = 0.1
    with pytest.raises(ReplicaError, match="other numbers than the model at 2 bits"):
        check_replica(qmodel, replica, images)


@pytest.mark.parametrize(
    ("some", "others", "expected"),
    [
        ({"a": torch.tensor([1.0, torch.nan])}, {"a": torch.tensor([1.0, torch.nan])}, True),
        ({"a": torch.ones(2)}, {"b": torch.ones(2)}, False),
        ((torch.ones(2), "x"), (torch.ones(2), "x"), True),
        ((torch.ones(2), "x"), (torch.ones(2), "y"), False),
        (torch.ones(2), torch.ones(2).double(), False),
        (torch.ones(2), torch.ones(3), False),
        ([torch.ones(2)], torch.ones(2), False),
    ],
)
def test_outputs_of_any_structure_are_compared(some, others, expected):
    assert same(some, others) is expected


shift = contextvars.ContextVar("shift", default=0.0)
of_this_thread = threading.local()


def test_what_a_forward_reads_of_the_callers_context_it_finds_in_other_threads(tiny_model, images, labels):
    qmodel = quantized(
        Wrapped(tiny_model, lambda self, x: self.net(x) + shift.get() * torch.arange(5.0)), images
    )
    token = shift.set(0.5)
    try:
        for options in ({"workers": 2, "batch_size": 8}, {"replicas": False}):
            evaluator = Evaluator(qmodel, images, labels, **options)
            right = sum(
                by_hand(qmodel, x, y, [3] * len(qmodel.names)) for x, y in evaluator.search_set.batches
            )
            assert sum(correct for correct, _ in evaluator.evaluate([3] * len(qmodel.names)).sums) == right
    finally:
        shift.reset(token)


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"replicas": False}], ids=str)
def test_what_belongs_to_one_thread_is_refused(tiny_model, images, labels, options):
    def run(self, x):
        return self.net(x) + getattr(of_this_thread, "shift", 0.0) * torch.arange(5.0)

    qmodel = quantized(Wrapped(tiny_model, run), images)
    of_this_thread.shift = 0.5
    try:
        with pytest.raises(ReplicaError, match="other numbers in another thread"):
            Evaluator(qmodel, images, labels, **options)
    finally:
        del of_this_thread.shift


def test_a_function_mode_of_the_caller_is_refused(qmodel, images, labels):
    class Halve(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            return result * 0.5 if function is nn.functional.conv2d else result

    evaluator = Evaluator(qmodel, images, labels)
    with Halve(), pytest.raises(ReplicaError, match="other numbers in another thread"):
        evaluator.evaluate_uniform(3)


def test_a_rare_path_to_the_model_itself_is_refused_where_it_is_taken(tiny_model, images, labels):
    def run(self, x):
        return (original if float(x.max()) > 5 else self).net(x)

    wrapped = original = Wrapped(tiny_model, run)
    images = images.clone()
    images[40, 0, 0, 0] = 6.0
    qmodel = quantized(wrapped, images)
    calibrate(qmodel, images, method="max")
    archive = Archive()
    with pytest.raises(ReplicaError, match="calls 'net.* of the model itself"):
        Evaluator(qmodel, images, labels, batch_size=4, hardest_first=False, archive=archive).evaluate(
            [3] * len(qmodel.names)
        )
    assert archive.to_frame().empty
    evaluator = Evaluator(qmodel, images, labels, batch_size=4, replicas=False)
    right = sum(by_hand(qmodel, x, y, [3] * len(qmodel.names)) for x, y in evaluator.search_set.batches)
    assert sum(correct for correct, _ in evaluator.evaluate([3] * len(qmodel.names)).sums) == right
