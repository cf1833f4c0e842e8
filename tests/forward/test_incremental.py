"""The oracle is the whole forward pass, bit for bit."""

import contextvars
import random
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional

from qa_lib import (
    IncrementalForward,
    QAWarning,
    QuantizedActivationsModel,
    any_of,
    calibrate,
    conv2d_predicate,
    linear_predicate,
    name_matches,
)
from qa_lib.batches.forward import evaluation_mode
from qa_lib.errors import DataError, DeviceError, NotCalibratedError
from qa_lib.quantization.digests import network_digest


def whole(qmodel, batches, widths):
    with qmodel.temporary_bit_widths(widths), evaluation_mode(qmodel), torch.inference_mode():
        return torch.cat([qmodel(batch) for batch in batches])


class InPlace(nn.Module):
    """Overwrites what it needs again: in place, through a view, and by adding onto a residual."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(c, 3, 3, padding=1) for c in (1, 3, 3))
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(3 * 36, 5)

    def forward(self, images):
        features = self.conv1(images)
        residual = features
        features = self.conv2(self.relu(features))
        features += residual
        flat = self.conv3(features).flatten(1)
        flat[:, ::2].mul_(0.5)
        return self.classifier(functional.relu_(flat) + features.flatten(1))


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 2, 3, padding=1)
        self.drop, self.flatten = nn.Dropout(), nn.Flatten()
        self.classifier = nn.Linear(72, 5)

    def forward(self, images):
        twice = self.conv1(self.conv1(images))
        return self.classifier(self.flatten(self.drop(self.conv2(twice + images))))


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.middle = (nn.Conv2d(1, 2, 3, padding=1) for _ in range(3))
        self.joined = nn.Conv2d(6, 5, 6)

    def forward(self, images):
        joined = torch.cat([self.left(images), self.right(images).relu(), self.middle(images)], dim=1)
        return self.joined(joined).flatten(1)


class Container(nn.Module):
    """A block that is quantized as a whole, and a module with somebody's hook."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU())
        self.conv = nn.Conv2d(2, 5, 6)
        self.block[1].register_forward_hook(lambda module, inputs, output: output * 1.25)

    def forward(self, images):
        return self.conv(self.block(images)).flatten(1)


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 5, 6)

    def forward(self, images):
        features = self.conv1(images)
        if features.mean() > 0:
            features = features + 1
        return self.conv2(features).flatten(1)


def quantize(model, images, predicate=None):
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.4)
    qmodel = QuantizedActivationsModel(model.eval(), predicate or any_of(conv2d_predicate, linear_predicate))
    calibrate(qmodel, images)
    return qmodel


def settings(names, count, seed):
    generator = random.Random(seed)
    for _ in range(count):
        changed = generator.sample(names, generator.randint(0, 2))
        yield {name: generator.choice([None, 2, 3, 4, 6]) for name in changed}


@pytest.fixture
def batches(images):
    return images.split(40)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0, 5_000, 60_000, 1 << 30])
@pytest.mark.parametrize("build", [InPlace, Reused, Branches, Container])
def test_same_bits_as_the_whole_forward(build, budget, images, batches, recwarn):
    model = build()
    predicate = any_of(conv2d_predicate, name_matches("block")) if build is Container else None
    qmodel = quantize(model, images, predicate)
    incremental = IncrementalForward(qmodel, batches, memory_budget=budget)
    assert incremental.kept_bytes <= budget
    # One that overwrites what it reads again later cannot be taken apart; it has to say so.
    assert incremental.traced or (build is InPlace and recwarn.pop(QAWarning))
    for setting in settings(qmodel.names, 25, seed=1):
        assert torch.equal(incremental(setting), whole(qmodel, batches, setting)), setting
    assert qmodel.bit_widths == (8,) * len(qmodel.names)


class ByKeyword(nn.Module):
    """Overwrites what it is given by keyword, and once as the place for a result."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.conv3, self.classifier = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(108, 5)

    def forward(self, images):
        features = functional.relu(input=self.conv1(images), inplace=True)
        side = self.conv2(features)
        main = self.conv3(features)
        return self.classifier(torch.add(main, side, out=main).flatten(1))


def test_what_is_overwritten_by_keyword_is_kept_as_it_was(images, batches):
    qmodel = quantize(ByKeyword(), images)
    incremental = IncrementalForward(qmodel, batches)
    assert incremental.traced
    for setting in settings(qmodel.names, 30, seed=5):
        assert torch.equal(incremental(setting), whole(qmodel, batches, setting)), setting


@pytest.mark.parametrize("seed", range(4))
def test_moving_the_base_keeps_the_bits(qmodel, images, batches, seed):
    incremental = IncrementalForward(qmodel, batches, memory_budget=40_000 * seed)
    for index, setting in enumerate(settings(qmodel.names, 40, seed)):
        if index % 3 == 0:
            incremental.rebase(setting)
            qmodel.bit_widths = setting
        else:
            assert torch.equal(incremental(setting), whole(qmodel, batches, setting))


def test_a_base_that_is_moved_batch_by_batch_may_be_left_half_way(qmodel, batches):
    incremental = IncrementalForward(qmodel, batches)
    expected = whole(qmodel, batches, [3, 4, 5, 6])
    assert torch.equal(torch.cat(list(incremental.rebase_batches([3, 4, 5, 6]))), expected)
    for outputs in incremental.rebase_batches([2, 2, 2, 2]):
        assert torch.equal(outputs, whole(qmodel, batches[:1], [2, 2, 2, 2]))
        break
    for setting in settings(qmodel.names, 8, seed=7):
        assert torch.equal(incremental(setting), whole(qmodel, batches, setting))


def test_threads_that_share_one_get_the_numbers_of_their_own_widths(qmodel, batches):
    incremental = IncrementalForward(qmodel, batches)
    asked = list(settings(qmodel.names, 40, seed=9))
    expected = [whole(qmodel, batches, setting) for setting in asked]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda setting: incremental(setting), asked))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_a_residual_network_with_everything_in_place():
    images = torch.rand(3, 3, 48, 48)
    torch.manual_seed(0)
    import torchvision  # takes two seconds

    model = torchvision.models.resnet18(num_classes=5).eval()
    qmodel = QuantizedActivationsModel(model, any_of(conv2d_predicate, linear_predicate))
    calibrate(qmodel, images)
    incremental = IncrementalForward(qmodel, images.split(2))
    assert incremental.traced
    for setting in settings(qmodel.names, 12, seed=3):
        assert torch.equal(incremental(setting), whole(qmodel, images.split(2), setting))


def test_an_untraceable_model_runs_whole_and_says_so_once(images, batches):
    qmodel = quantize(Untraceable(), images)
    with pytest.warns(QAWarning, match="every setting runs the whole network") as said:
        incremental = IncrementalForward(qmodel, batches)
        for setting in settings(qmodel.names, 5, seed=0):
            assert torch.equal(incremental(setting), whole(qmodel, batches, setting))
        incremental.rebase([3, 3, 3])
    assert len(said) == 1
    assert not incremental.traced
    assert incremental.passes == 5


def test_only_what_depends_on_a_change_is_run(qmodel, batches):
    incremental = IncrementalForward(qmodel, batches)
    calls = []
    for name, module in incremental._graph.replica.model.named_children():
        module.register_forward_hook(lambda m, i, o, name=name: calls.append(name))
    incremental({"conv2": 3})
    assert calls == ["classifier"] * 3
    calls.clear()
    incremental({"conv1": 3})
    assert calls == ["relu", "conv2", "classifier"] * 3
    calls.clear()
    incremental(qmodel.bit_widths)
    assert calls == ["classifier"] * 3 or not calls


def test_work_is_counted_in_passes(qmodel, batches):
    incremental = IncrementalForward(qmodel, batches)
    assert incremental.passes == pytest.approx(1.0)
    before = incremental.passes
    incremental([3, 3, 3, 3])
    middle = incremental.passes
    incremental({"conv2": 3})
    assert 0 < incremental.passes - middle < middle - before <= 1


def test_a_changed_amax_is_a_change(qmodel, batches):
    incremental = IncrementalForward(qmodel, batches)
    before = incremental(qmodel.bit_widths)
    quantizer = qmodel.activation_fake_quantizers["conv1"]
    quantizer.amax = quantizer.amax / 3
    after = incremental(qmodel.bit_widths)
    assert torch.equal(after, whole(qmodel, batches, qmodel.bit_widths))
    assert not torch.equal(after, before)


def weight_without_autograd(qmodel):
    qmodel.model.shortcut.weight.data.mul_(2)  # which counts no version


def weight_in_place(qmodel):
    with torch.no_grad():
        qmodel.model.shortcut.weight.mul_(2)


def another_module(qmodel):
    qmodel.model.classifier = nn.Linear(4 * 6 * 6, 5)


def narrow_range(qmodel):
    for quantizer in qmodel.activation_fake_quantizers.values():
        quantizer._narrow_range = True
        quantizer.amax = quantizer.amax / 4


def a_hook(qmodel):
    qmodel.model.relu.register_forward_hook(lambda module, inputs, output: output * 2)


CHANGES = (weight_without_autograd, weight_in_place, another_module, narrow_range, a_hook)


def test_a_changed_weight_starts_anew(qmodel, batches):
    incremental = IncrementalForward(qmodel, batches)
    before = incremental({"conv2": 3})
    for change in CHANGES:
        change(qmodel)
        after = incremental({"conv2": 3})
        assert torch.equal(after, whole(qmodel, batches, {"conv2": 3}))
        assert not torch.equal(after, before)
        before = after


def test_what_cannot_be_run_is_refused(tiny_model, images):
    uncalibrated = QuantizedActivationsModel(tiny_model, conv2d_predicate)
    with pytest.raises(NotCalibratedError):
        IncrementalForward(uncalibrated, images)
    uncalibrated.bit_widths = [None] * 4
    with pytest.raises(DataError, match="there are no batches"):
        IncrementalForward(uncalibrated, [])
    with pytest.raises(DeviceError):
        IncrementalForward(uncalibrated, images.to("meta"))
    with pytest.raises(NotCalibratedError):
        IncrementalForward(uncalibrated, images)([4] * 4)


@pytest.mark.parametrize("may_change", [True, False])
def test_weights_are_looked_at_only_where_they_may_change(qmodel, images, monkeypatch, may_change):
    incremental = IncrementalForward(qmodel, images, network_may_change=may_change)
    looked = []

    def digest(model):
        looked.append(model)
        return network_digest(model)

    monkeypatch.setattr("qa_lib.forward.incremental.network_digest", digest)
    assert torch.equal(incremental([3, 3, 3, 3]), whole(qmodel, [images], [3, 3, 3, 3]))
    assert bool(looked) is may_change


@pytest.mark.parametrize("name", ["class", "a name", 'with "quotes"'])
def test_modules_may_have_names_that_are_no_words_of_python(images, name):
    model = nn.ModuleDict({"body": nn.Conv2d(1, 4, 3), name: nn.Linear(64, 5)})
    model.forward = types.MethodType(lambda self, x: self[name](self["body"](x).flatten(1)), model)
    qmodel = QuantizedActivationsModel(model, conv2d_predicate)
    calibrate(qmodel, images)
    whole = IncrementalForward(qmodel, images)
    for widths in ([4, 4], [4, 3], [2, 3]):
        with torch.no_grad(), qmodel.temporary_bit_widths(widths):
            assert torch.equal(whole(widths), qmodel(images))


class Shifted(nn.Module):
    """Looks up what nobody but its code knows of."""

    def __init__(self):
        super().__init__()
        self.conv1, self.classifier = nn.Conv2d(1, 3, 3), nn.Linear(48, 5)

    def forward(self, images):
        return self.classifier(self.conv1(images).flatten(1)) + shift.get() * torch.arange(5.0)


shift = contextvars.ContextVar("shift", default=0.0)  # which no digest of the code holds


def test_what_changes_the_outputs_from_outside_starts_anew(images):
    qmodel = QuantizedActivationsModel(Shifted(), conv2d_predicate)
    calibrate(qmodel, images)
    incremental = IncrementalForward(qmodel, images.split(40))
    assert torch.equal(incremental([4, 4]), whole(qmodel, images.split(40), [4, 4]))
    token = shift.set(2.0)
    try:
        assert torch.equal(incremental([4, 4]), whole(qmodel, images.split(40), [4, 4]))
    finally:
        shift.reset(token)


def test_what_is_written_through_a_view_is_seen_though_the_first_batch_does_not_show_it(images):
    class ThroughAView(Shifted):
        def forward(self, images):
            features = self.conv1(images)
            features[:, :1].clamp_(max=0.5)
            return self.classifier(features.flatten(1))

    torch.manual_seed(0)
    images = torch.cat([images[:48] * 0.01, images[48:] * 30])
    qmodel = QuantizedActivationsModel(ThroughAView(), conv2d_predicate)
    calibrate(qmodel, images)
    with pytest.warns(QAWarning, match="writes into a view of what is used again"):
        incremental = IncrementalForward(qmodel, images.split(48))
    assert torch.equal(incremental([8, 8]), whole(qmodel, images.split(48), [8, 8]))
