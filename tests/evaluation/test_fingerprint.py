"""A change to anything that an accuracy depends on is never answered from old rows."""

import argparse
import functools
import importlib
import os
import subprocess
import sys
import types
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pytest
import torch
from tiny import TinyNet, make_tiny_model
from torch import nn

from qa_lib import Archive, Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, sensitivity
from qa_lib.errors import DataError, LayerError, QAWarning
from qa_lib.evaluation import LiveEvaluator, fingerprint
from qa_lib.metrics import Accuracy
from qa_lib.quantization.digests import function_digest, model_digest, object_digest, structure_digest
from qa_lib.workloads.networks import SmallConvNet


def one_weight(qmodel, given):
    with torch.no_grad():
        qmodel.model.conv2.weight[0, 0, 0, 0] += 1e-6


def another_classifier(qmodel, given):
    qmodel.model.classifier = nn.Linear(4 * 6 * 6, 5)


def one_amax(qmodel, given):
    quantizer = qmodel.activation_fake_quantizers["conv1"]
    quantizer.amax = quantizer.amax * 1.0001


def amax_of_one_width(qmodel, given):
    # Not of a width that is set, or measured here.
    quantizer = qmodel.activation_fake_quantizers["conv1"]
    amax = dict.fromkeys(range(2, 17), float(quantizer.amax))
    quantizer.set_amax_by_width(amax | {11: 0.5})


def unsigned(qmodel, given):
    qmodel.activation_fake_quantizers["input"].unsigned = True


def narrow_range(qmodel, given):
    qmodel.activation_fake_quantizers["conv1"]._narrow_range = True


def a_setting_of_a_layer(qmodel, given):
    qmodel.model.conv2.padding = qmodel.model.conv2.dilation = (2, 2)


def another_forward(qmodel, given):
    class TinyNet(nn.Module):
        def forward(self, images):
            residual = self.shortcut(images)
            features = self.conv2(self.relu(self.conv1(images)))
            return self.classifier((features - residual).flatten(1))

    qmodel.model.__class__ = TinyNet


def a_hook(qmodel, given):
    qmodel.model.conv1.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))


def one_image(qmodel, given):
    given["images"] = given["images"].clone()
    given["images"][17, 0, 2, 2] += 1e-6


def one_label(qmodel, given):
    given["labels"] = given["labels"].clone()
    given["labels"][3] = (given["labels"][3] + 1) % 5


def the_order(qmodel, given):
    given["images"], given["labels"] = given["images"].flip(0), given["labels"].flip(0)


def the_batch_size(qmodel, given):
    given["batch_size"] = 39


def the_layout(qmodel, given):
    given["channels_last"] = not given["channels_last"]


def the_dtype(qmodel, given):
    qmodel.double()
    given["images"] = given["images"].double()


MODEL = [
    one_weight,
    another_classifier,
    one_amax,
    amax_of_one_width,
    unsigned,
    narrow_range,
    a_setting_of_a_layer,
    another_forward,
    a_hook,
]
SET = [one_image, one_label, the_order, the_batch_size, the_layout, the_dtype]


def measure(qmodel, archive, given):
    evaluator = Evaluator(qmodel, **given, hardest_first=False, archive=archive)
    before = evaluator.images_forwarded
    evaluation = evaluator.evaluate([3, 4, 5, 6])
    return evaluation, evaluator.images_forwarded > before


@pytest.mark.slow
@pytest.mark.parametrize("change", [*MODEL, *SET], ids=lambda change: change.__name__)
def test_a_change_is_measured_anew(qmodel, images, labels, change):
    archive = Archive()
    given = {"images": images, "labels": labels, "batch_size": 40, "channels_last": True}
    assert measure(qmodel, archive, given)[1]
    assert not measure(qmodel, archive, given)[1]
    change(qmodel, given)
    assert measure(qmodel, archive, given)[1]


@pytest.mark.parametrize(
    "change", [c for c in MODEL if c is not a_setting_of_a_layer], ids=lambda c: c.__name__
)
def test_a_change_under_a_living_evaluator_is_measured_anew(qmodel, evaluator, change):
    evaluator.evaluate([3, 4, 5, 6])
    change(qmodel, {})
    before = evaluator.images_forwarded
    found = evaluator.evaluate([3, 4, 5, 6])
    # The images, a check of the replica, and once more the float model.
    assert 0 <= evaluator.images_forwarded - before - 96 <= 15 * 3 + 96
    with torch.no_grad(), qmodel.temporary_bit_widths([3, 4, 5, 6]):
        batches = [(images, labels) for images, labels in evaluator.search_set.batches]
        correct = [int((qmodel(images).argmax(1) == labels).sum()) for images, labels in batches]
    assert [right for right, _ in found.sums] == correct


@pytest.mark.parametrize("method", ["max", "mse"])
def test_widths_modes_and_copies_change_nothing(qmodel, images, method):
    calibrate(qmodel, images, method=method)
    digest = model_digest(qmodel)
    qmodel.bit_widths = [2, None, 3, 4]
    qmodel.train()
    assert model_digest(qmodel) == digest
    again = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
    again.load_state_dict(qmodel.state_dict())
    assert model_digest(again) == digest
    qmodel.remove()
    again = QuantizedActivationsModel(qmodel.model, conv2d_predicate)
    calibrate(again, torch.rand(4, 1, 6, 6))
    assert model_digest(again) != digest


DIGEST = """
import torch
from tiny import make_tiny_model
from qa_lib import QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.metrics import Accuracy
from qa_lib.quantization.digests import function_digest, model_digest, object_digest, structure_digest
from qa_lib.workloads.networks import SmallConvNet
class Net(type(make_tiny_model())):
    def forward(self, images):
        assert len(images) not in {"some", "set", "of", "strings"}
        return super().forward(images)
model = make_tiny_model()
model.__class__ = Net
qmodel = QuantizedActivationsModel(model, conv2d_predicate)
for quantizer in qmodel.activation_fake_quantizers.values():
    quantizer.amax = 1.0
print(model_digest(qmodel))
"""


@pytest.mark.slow
def test_every_process_finds_the_same_digest(request):
    folder = request.config.rootpath / "tests"
    digests = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DIGEST],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(folder), "PATH": ""},
            cwd=folder.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1 and len(digests.pop().strip()) == 64


def test_the_class_is_told_from_another_of_its_name():
    class Other(nn.Module):
        __qualname__, __module__ = TinyNet.__qualname__, TinyNet.__module__

        def forward(self, images):
            return images

    model, other = make_tiny_model(), make_tiny_model()
    other.__class__ = Other
    digests = set()
    for network in (model, other):
        qmodel = QuantizedActivationsModel(network, conv2d_predicate)
        digests.add(model_digest(qmodel))
    assert len(digests) == 2


def test_the_digest_of_a_known_structure_stays_the_same():
    """Moving a file, or naming a private thing anew, must not make every archive unknown; what must, raises ``NUMERICS``."""
    qmodel = QuantizedActivationsModel(SmallConvNet(), conv2d_predicate)
    assert structure_digest(qmodel) == "c73236f472662ede2bd8915d886e48b6067efc1db93ef2714d9993f2379e8f89"


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_the_kernels_of_onednn_are_told_from_others(evaluator):
    before = evaluator.fingerprint()
    with torch.backends.mkldnn.flags(enabled=False):
        assert evaluator.fingerprint() != before
    assert evaluator.fingerprint() == before


def test_another_metric_is_measured_anew_even_if_it_is_called_the_same(qmodel, images, labels):
    class Half(Accuracy):
        def score(self, sums):
            return super().score(sums) / 2

    archive = Archive()
    known = Evaluator(qmodel, images, labels, batch_size=40, archive=archive).evaluate([3, 4, 5, 6])
    other = Evaluator(qmodel, images, labels, batch_size=40, metric=Half(), archive=archive)
    assert other.fingerprint() != Evaluator(qmodel, images, labels, batch_size=40).fingerprint()
    assert other.evaluate([3, 4, 5, 6]).score == known.score / 2
    assert len(archive.to_frame()) == 2


class Holder:
    def __init__(self, level):
        self.level = level

    def __call__(self, images):
        return images.clamp(max=self.level)


@dataclass
class Options:
    level: float


class Slotted:
    __slots__ = ("level",)

    def __init__(self, level):
        self.level = level


class Settings:
    """Which a forward may look up in its file."""

    level = 9.0


settings_object = types.SimpleNamespace(level=9.0)


LEVEL = 9.0


def clamped(images, level):
    return images.clamp(max=level)


def closing_over(level):
    return lambda images: images.clamp(max=level)


def with_an_attribute(level):
    def clamp(images):
        return images.clamp(max=clamp.level)

    clamp.level = level
    return clamp


class Clamped(nn.Module):
    """Clamps its input at a level that it holds in some way."""

    def __init__(self, net, held):
        super().__init__()
        self.net, self.held = net, held

    def forward(self, images):
        held = self.held
        if isinstance(held, type):
            return self.net(images.clamp(max=next(iter(held.level))))
        if callable(held):
            return self.net(held(images))
        if isinstance(held, list):
            return self.net(held[0](images))
        held = held["level"] if isinstance(held, dict) else getattr(held, "level", held)
        return self.net(images.clamp(max=float(held)))


def scaling(level):
    layer = nn.Conv2d(1, 1, 1, bias=False).requires_grad_(False)
    layer.weight.fill_(level)
    return layer


HELD = {
    "tensor": torch.tensor,
    "numpy number": np.float32,
    "array": lambda level: np.array(level),
    "dict": lambda level: {"level": level},
    "dataclass": Options,
    "object": Holder,
    "bound method": lambda level: Holder(level).__call__,
    "partial": lambda level: functools.partial(torch.clamp, max=level),
    "partial of ours": lambda level: functools.partial(clamped, level=level),
    "namespace": lambda level: types.SimpleNamespace(level=level),
    "options of a command line": lambda level: argparse.Namespace(level=level),
    "decimal": lambda level: Decimal(str(level)),
    "array of objects": lambda level: {
        "level": np.array([level], dtype=object)[0],
        "all": np.array([level], dtype=object),
    },
    "attribute of a function": with_an_attribute,
    "constant of a class": lambda level: type("Of", (), {"level": frozenset([level])}),
    "slots": Slotted,
    "closure": closing_over,
    "default": lambda level: lambda images, level=level: images.clamp(max=level),
    "modules in a list": lambda level: [scaling(level)],
}


def of_held(held, images):
    qmodel = QuantizedActivationsModel(Clamped(make_tiny_model(), held), conv2d_predicate)
    calibrate(qmodel, images)
    return qmodel


@pytest.mark.filterwarnings("ignore:torch.fx cannot take this model apart")
@pytest.mark.parametrize("kind", HELD)
def test_whatever_a_model_holds_is_part_of_the_fingerprint(images, labels, kind, tmp_path):
    archive = Archive(tmp_path / "archive.sqlite")
    options = {"hardest_first": False, "batch_size": 32}
    found = {}
    for level in (1.0, 0.2, 1.0):
        evaluator = Evaluator(of_held(HELD[kind](level), images), images, labels, archive=archive, **options)
        known = evaluator.recall([4] * 4)
        assert (known is not None) == (level in found)
        found[level] = evaluator.evaluate([4] * 4)
        assert found[level].sums == evaluator.evaluate([4] * 4, remeasure=True).sums
        sensitivity(evaluator.qmodel, images, num_bits_upper_limit=3, archive=archive, progress=False)
    assert found[1.0].sums != found[0.2].sums
    assert len(archive.check().contents) == 4  # two of evaluations, two of sensitivities


PATCHES = {
    "method": lambda relu: types.MethodType(lambda self, x: x.clamp(0, 0.3), relu),
    "partial": lambda relu: functools.partial(torch.clamp, min=0, max=0.3),
    "builtin": lambda relu: torch.tanh,
    "lambda": lambda relu: lambda x: x.clamp(0, 0.3),
}


@pytest.mark.parametrize("patch", PATCHES)
def test_a_patch_under_a_living_evaluator_is_measured_by_all(qmodel, images, labels, patch):
    evaluator = Evaluator(qmodel, images, labels, batch_size=32)
    live = LiveEvaluator(evaluator)
    live.evaluate([4] * 4)
    qmodel.model.relu.forward = PATCHES[patch](qmodel.model.relu)

    def by_hand(widths):
        with torch.no_grad(), qmodel.temporary_bit_widths(widths):
            return [int((qmodel(x).argmax(1) == y).sum()) for x, y in evaluator.search_set.batches]

    for measure, num_bits in (
        (evaluator.evaluate, 4),
        (live.evaluate, 5),
        (evaluator.evaluate, 6),
        (live.evaluate, 3),
    ):
        assert [right for right, _ in measure([num_bits] * 4).sums] == by_hand([num_bits] * 4)


def test_a_constant_of_a_file_is_part_of_what_uses_it(monkeypatch, images):
    digests = set()
    for level in (9.0, 1.0):
        monkeypatch.setattr(sys.modules[__name__], "LEVEL", level)
        digests.add(structure_digest(of_held(lambda images: clamped(images, LEVEL), images)))
    assert len(digests) == 2


def test_refresh_looks_at_every_weight_anew(evaluator):
    before = model_digest(evaluator.qmodel)
    evaluator.qmodel.model.classifier.weight.data.view(-1)[5] = 9.0  # past torch, and in no sample
    assert model_digest(evaluator.qmodel) == before
    evaluator.refresh()
    assert model_digest(evaluator.qmodel) != before


def test_sensitivities_of_a_model_that_counts_are_known_to_another_process(images, tmp_path):
    class Counting(TinyNet):
        calls = 0

        def forward(self, images):
            self.calls += 1
            return super().forward(images)

    asked = []
    for ran_before in (0, 3):  # as two processes would
        torch.manual_seed(0)
        qmodel = QuantizedActivationsModel(Counting().eval(), conv2d_predicate)
        calibrate(qmodel, images)
        for _ in range(ran_before):
            qmodel(images)
        with pytest.warns(QAWarning, match="changes 'model.calls'"):
            table = sensitivity(qmodel, images, archive=tmp_path / "archive.sqlite", progress=False)
        asked.append(table.passes)
    assert asked[0] > 0 and asked[1] == 0


def test_what_only_the_user_knows_is_named(qmodel, images, labels, tmp_path):
    archive = Archive(tmp_path / "archive.sqlite")
    first, second = (
        Evaluator(qmodel, images, labels, archive=archive, model_key=key) for key in ("v1", "v2")
    )
    first.evaluate([4] * 4)
    assert second.recall([4] * 4) is None and first.using(archive).recall([4] * 4) is not None
    assert Evaluator(qmodel, images, labels, archive=archive).recall([4] * 4) is None
    with pytest.raises(DataError, match="model_key is int"):
        Evaluator(qmodel, images, labels, model_key=3)


class OfTheEnvironment(TinyNet):
    """What it returns depends on something that no list of a model's state holds."""

    def forward(self, images):
        return super().forward(images * float(os.environ.get("QA_LIB_TEST_SCALE", "1")))


@pytest.mark.filterwarnings("ignore:the model changes")
def test_a_known_setting_of_a_model_that_takes_long_is_answered_without_a_forward_pass(
    qmodel, images, labels, monkeypatch
):
    monkeypatch.setattr(fingerprint, "_SOON", 0.0)
    passes = []
    qmodel.model.conv1.register_forward_hook(lambda *_: passes.append(1))
    evaluator = Evaluator(qmodel, images, labels, batch_size=40)
    measured = evaluator.evaluate([4] * 4)
    passes.clear()
    assert evaluator.evaluate([4] * 4) == evaluator.recall([4] * 4) == measured and not passes
    assert evaluator.fingerprint(at_once=True) == evaluator.fingerprint() and passes


def test_what_only_the_outputs_show_is_seen_with_the_next_measurement_and_by_refresh(
    images, labels, monkeypatch
):
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(OfTheEnvironment().eval(), conv2d_predicate)
    calibrate(qmodel, images.split(40))
    for look in (lambda e: e.refresh(), lambda e: e.evaluate([3] * 4), lambda e: e.fingerprint()):
        monkeypatch.setenv("QA_LIB_TEST_SCALE", "1")
        evaluator = Evaluator(qmodel, images, labels, batch_size=40)
        before = evaluator.evaluate([4] * 4)
        monkeypatch.setenv("QA_LIB_TEST_SCALE", "0.2")
        look(evaluator)
        assert evaluator.recall([4] * 4) is None
        after = evaluator.evaluate([4] * 4)
        assert after.sums != before.sums and after.fingerprint != before.fingerprint


def by_class(images):
    return images.clamp(max=Settings.level)


def by_object(images):
    return images.clamp(max=settings_object.level)


@pytest.mark.filterwarnings("ignore:torch.fx cannot take this model apart")
@pytest.mark.parametrize(
    ("held", "where"), [(by_class, Settings), (by_object, settings_object)], ids=["class", "object"]
)
def test_a_setting_that_a_forward_looks_up_in_its_file_is_part_of_the_fingerprint(
    images, labels, held, where, monkeypatch
):
    qmodel = of_held(held, images)
    evaluator = Evaluator(qmodel, images, labels, batch_size=32)
    before = evaluator.evaluate([4] * 4)
    monkeypatch.setattr(where, "level", 0.2)
    assert evaluator.recall([4] * 4) is None
    assert evaluator.evaluate([4] * 4).sums != before.sums


def test_what_a_model_returns_for_two_images_is_looked_at_with_each_answer(images, labels, monkeypatch):
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(OfTheEnvironment().eval(), conv2d_predicate)
    calibrate(qmodel, images.split(40))
    evaluator = Evaluator(qmodel, images, labels, batch_size=40)
    evaluator.evaluate([4] * 4)
    monkeypatch.setenv("QA_LIB_TEST_SCALE", "0.2")
    assert evaluator.recall([4] * 4) is None  # as quick as it is to run


def test_a_quantized_module_that_was_replaced_is_said(qmodel, evaluator, images):
    qmodel.model.conv2 = nn.Conv2d(4, 4, 3, padding=1)
    for use in (
        lambda: evaluator.evaluate([4] * 4),
        lambda: sensitivity(qmodel, images, progress=False),
        lambda: Evaluator(qmodel, images, images),
    ):
        with pytest.raises(
            LayerError, match="'conv2' is another module than the one that got a fake quantizer"
        ):
            use()


def test_what_a_function_finds_in_a_file_of_the_users_own_is_part_of_it(tmp_path, monkeypatch):
    (tmp_path / "settings_of_mine.py").write_text("level = 1.0\nother = 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "settings_of_mine", raising=False)
    own = importlib.import_module("settings_of_mine")
    within = {"settings_of_mine": own}
    exec("def use(images): return images.clamp(max=settings_of_mine.level)", within)
    before = function_digest(within["use"])
    own.other = 2.0
    assert function_digest(within["use"]) == before
    own.level = 2.0
    assert function_digest(within["use"]) != before
    monkeypatch.delitem(sys.modules, "settings_of_mine")


def test_a_class_is_described_wherever_it_is_met_first():
    def using():
        return Settings.level

    digests = [(function_digest(using), function_digest(Settings), object_digest(Settings()))]
    Settings.level = 8.0
    try:
        digests.append((function_digest(using), function_digest(Settings), object_digest(Settings())))
    finally:
        Settings.level = 9.0
    assert all(one != other for one, other in zip(*digests, strict=True))


def test_the_attributes_of_a_function_are_part_of_it():
    assert function_digest(with_an_attribute(1.0)) == function_digest(with_an_attribute(1.0))
    assert function_digest(with_an_attribute(1.0)) != function_digest(with_an_attribute(2.0))


conv1, offset = "a variable of this file that is called as an attribute is", 1.0


class Shifted(TinyNet):
    def forward(self, images):
        return super().forward(images) + self.conv1.bias[0] * offset


def test_a_variable_that_is_called_as_an_attribute_is_no_part_of_the_model(images, labels, monkeypatch):
    qmodel = QuantizedActivationsModel(Shifted().eval(), conv2d_predicate)
    calibrate(qmodel, images)
    evaluator = Evaluator(qmodel, images, labels)
    before = evaluator.fingerprint()
    monkeypatch.setitem(globals(), "conv1", "something else")
    assert evaluator.fingerprint() == before
    monkeypatch.setitem(globals(), "offset", 2.0)  # which it looks up
    assert evaluator.fingerprint() != before
