"""The oracle is the model with its modules as they are, bit for bit."""

import random

import pytest
import torch
from torch import nn

from qa_lib import (
    Evaluator,
    QuantizedActivationsModel,
    any_of,
    calibrate,
    conv2d_predicate,
    linear_predicate,
    load_workload,
)
from qa_lib.batches.items import in_channels_last
from qa_lib.forward.fused_output import FusedOutput
from qa_lib.forward.fusion import Fusion, find_fusion, fuse
from qa_lib.forward.incremental import IncrementalForward
from qa_lib.forward.replicas import make_replicas
from qa_lib.quantization.predicates import name_matches

IMAGES = torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A chain with ReLU6, one whose sum goes on, one whose output is used twice, one ReLU for two."""

    def __init__(self, relu=nn.ReLU):
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv2d(c, 7, 3, padding=1) for c in (3, 7, 7, 7))
        self.norm1, self.norm2, self.norm3 = (nn.BatchNorm2d(7) for _ in range(3))
        self.norm4 = nn.BatchNorm2d(7, affine=False)
        self.six, self.relu = nn.ReLU6(inplace=True), relu()
        self.classifier = nn.Linear(7, 5)

    def forward(self, images):
        features = self.six(self.norm1(self.conv1(images)))
        features = self.relu(self.norm2(self.conv2(features)) + features)
        raw = self.conv3(features)
        features = self.relu(self.norm3(raw)) + raw
        return self.classifier(self.norm4(self.conv4(features)).mean(dim=(2, 3)))


class Sums(nn.Module):
    """Sums that only a ReLU takes, one that is needed again, and one that is made in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.first, self.second, self.third, self.fourth = (nn.ReLU() for _ in range(4))

    def forward(self, images):
        raw = self.conv(images)
        features = self.first(raw + 1)
        features = self.second(torch.add(raw, features))
        needed = features.add(raw)
        features = self.third(needed) + needed
        features += raw
        return (self.fourth(features) + features).mean(dim=(2, 3))


def quantized(model, images=IMAGES, predicate=None):
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 3.0)
            if module.affine:
                module.weight.data.normal_()
                module.bias.data.normal_()
    qmodel = QuantizedActivationsModel(model.eval(), predicate or any_of(conv2d_predicate, linear_predicate))
    calibrate(qmodel, images)
    return qmodel


def assert_same_bits(qmodel, fusion, images=IMAGES, count=8):
    plain, fused = make_replicas(qmodel, 2)
    fuse(fused, fusion)
    generator = random.Random(0)
    with torch.inference_mode():
        for layout in (in_channels_last(images), images.contiguous()):
            for _ in range(count):
                widths = [generator.choice([None, 2, 3, 4, 8, 16]) for _ in qmodel.names]
                plain.bit_widths = fused.bit_widths = widths
                assert torch.equal(fused.eval()(layout), plain.eval()(layout)), widths


def assert_same_from_the_middle(qmodel, images=IMAGES, count=8):
    (plain,), laid_out = make_replicas(qmodel, 1), in_channels_last(images)
    forward, generator = IncrementalForward(qmodel, [laid_out]), random.Random(1)
    assert forward.traced
    with torch.inference_mode():
        for turn in range(count):
            widths = [generator.choice([None, 2, 3, 4, 8, 16]) for _ in qmodel.names]
            plain.bit_widths = widths
            assert torch.equal(forward(widths), plain.eval()(laid_out)), widths
            if turn % 2:
                forward.rebase(widths)
            widths[generator.randrange(len(widths))] = 5
            plain.bit_widths = widths
            assert torch.equal(forward(widths), plain.eval()(laid_out)), widths


def names(fusion):
    return [(chain.conv, chain.norm, chain.relu) for chain in fusion.chains]


def test_only_what_nobody_else_sees_is_fused():
    qmodel = quantized(Net())
    fusion = find_fusion(qmodel, IMAGES)
    assert names(fusion) == [
        ("conv1", "norm1", "six"),
        ("conv2", "norm2", None),  # a sum comes before the ReLU
        ("conv4", "norm4", None),  # conv3's output goes into a sum as well
    ]
    assert fusion.sums == ()  # that ReLU serves twice
    assert_same_bits(qmodel, fusion)
    assert_same_from_the_middle(qmodel)
    qmodel = quantized(Sums())
    fusion = find_fusion(qmodel, IMAGES)
    assert fusion.sums == ("first", "second")
    assert_same_bits(qmodel, fusion)


def test_what_begins_in_the_middle_is_fused_too(monkeypatch):
    passes = []
    one_pass = FusedOutput.one_pass
    qmodel = quantized(Net())
    forward = IncrementalForward(qmodel, [in_channels_last(IMAGES)])
    monkeypatch.setattr(FusedOutput, "one_pass", lambda self, *given: passes.append(one_pass(self, *given)))
    forward({"conv4": 3})
    assert len(passes) == 1  # only what depends on it
    forward({"conv1": 3})
    assert len(passes) == 1 + 3


def test_the_reference_network():
    workload = load_workload("fashion_mnist")
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    calibrate(qmodel, workload.calibration_images[:128])
    fusion = find_fusion(qmodel, workload.search_images[:2])
    assert len(fusion.chains) == 15 and sum(chain.relu is not None for chain in fusion.chains) == 7
    assert fusion.sums == tuple(f"blocks.{block}.relu2" for block in range(6))
    assert_same_bits(qmodel, fusion, workload.search_images[:64])
    assert_same_from_the_middle(qmodel, workload.search_images[:64])


@pytest.mark.slow
@pytest.mark.parametrize(("build", "count", "relus"), [("resnet18", 20, 1), ("mobilenet_v2", 52, 35)])
def test_networks_of_torchvision(build, count, relus):
    images = torch.rand(2, 3, 64, 64)
    import torchvision  # takes two seconds

    qmodel = quantized(getattr(torchvision.models, build)(num_classes=5), images)
    fusion = find_fusion(qmodel, images)
    assert len(fusion.chains) == count
    assert sum(chain.relu is not None for chain in fusion.chains) == relus
    assert_same_bits(qmodel, fusion, images, count=3)
    assert_same_from_the_middle(qmodel, images, count=3)


def test_a_module_that_is_quantized_or_watched_itself_stays():
    everything = any_of(conv2d_predicate, name_matches("norm1"), name_matches("six"))
    assert names(find_fusion(quantized(Net(), predicate=everything), IMAGES))[0] == ("conv2", "norm2", None)
    qmodel = quantized(Net())
    qmodel.model.norm1.register_forward_hook(lambda module, inputs, output: output + 1)
    qmodel.model.six.register_forward_hook(lambda module, inputs, output: output + 1)
    assert names(find_fusion(qmodel, IMAGES))[0] == ("conv2", "norm2", None)
    qmodel = quantized(Net())
    qmodel.model.conv1.register_forward_hook(lambda module, inputs, output: output + 1)
    assert_same_bits(qmodel, find_fusion(qmodel, IMAGES))


def test_a_model_that_looks_into_its_modules_keeps_them():
    class Curious(Net):
        def forward(self, images):
            return super().forward(images) * self.norm1.num_features

    assert find_fusion(quantized(Curious()), IMAGES) == Fusion()


def test_a_forward_put_on_the_instance_stays():
    qmodel = quantized(Net())
    qmodel.model.norm1.forward = lambda features: features * 2
    assert names(find_fusion(qmodel, IMAGES))[0] == ("conv2", "norm2", None)


def test_a_model_that_cannot_be_traced_has_no_chains():
    class Moody(Net):
        def forward(self, images):
            return super().forward(images if images.mean() > 0 else -images)

    assert find_fusion(quantized(Moody()), IMAGES) == Fusion()


class Unused(Net):
    """Computes what it then does not use."""

    def forward(self, images):
        self.conv3(torch.relu(self.conv2(self.conv1(images)))) + 1
        return super().forward(images)


def test_what_is_computed_for_nothing_is_left_alone():
    qmodel = quantized(Unused())
    assert_same_bits(qmodel, find_fusion(qmodel, IMAGES))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_precisions_are_not_fused_and_evaluate(dtype):
    qmodel, images = quantized(Net().to(dtype), IMAGES.to(dtype)), IMAGES.to(dtype)
    assert find_fusion(qmodel, images).chains == ()
    evaluation = Evaluator(qmodel, images, torch.arange(6) % 5, batch_size=2).evaluate_uniform(4)
    assert evaluation.complete


@pytest.mark.parametrize("special", ["amax of zero", "narrow range", "unsigned", "double"])
def test_what_the_pass_does_not_do_goes_through_the_modules(special):
    qmodel = quantized(Net())
    quantizer = qmodel.activation_fake_quantizers["conv1"]
    images = IMAGES
    if special == "amax of zero":
        quantizer.amax = 0.0
    if special == "narrow range":
        quantizer._narrow_range = True
    if special == "unsigned":
        with torch.no_grad():
            qmodel.model.conv1.weight.abs_()
            qmodel.model.conv1.bias.abs_()
        quantizer._unsigned = True
    fusion = find_fusion(qmodel, IMAGES)
    if special == "double":
        qmodel.double()
        images = images.double()
    assert fusion.chains
    assert_same_bits(qmodel, fusion, images)


def test_nan_and_infinity_pass_as_through_the_modules():
    qmodel = quantized(Net())
    images = IMAGES.clone()
    images[0, 0, 3, 3], images[1, 1, 2, 2] = float("nan"), float("inf")
    plain, fused = make_replicas(qmodel, 2)
    fuse(fused, find_fusion(qmodel, IMAGES))
    with torch.inference_mode():
        outputs = [replica.eval()(in_channels_last(images)) for replica in (plain, fused)]
    assert torch.equal(*(output.nan_to_num(7.0) for output in outputs))
    assert outputs[0].isnan().any()


def test_the_users_model_keeps_its_modules():
    qmodel = quantized(Net())
    before = {name: type(module) for name, module in qmodel.named_modules()}
    (replica,) = make_replicas(qmodel, 1)
    fuse(replica, find_fusion(qmodel, IMAGES))
    assert isinstance(replica.model.norm1, nn.Identity)
    assert {name: type(module) for name, module in qmodel.named_modules()} == before
    hooks = [hook for module in qmodel.modules() for hook in module._forward_hooks.values()]
    assert not any(isinstance(hook, FusedOutput) for hook in hooks)


class SumIntoABuffer(nn.Module):
    """A sum that is written where somebody else reads it, beside a chain that can be fused."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU()
        self.last = nn.ReLU()
        self.register_buffer("kept", torch.zeros(6, 5, 12, 10), persistent=False)

    def forward(self, images):
        features = self.relu(self.norm(self.conv(images)))
        return (self.last(torch.add(features, -0.5, out=self.kept)) + self.kept).mean(dim=(2, 3))


def test_a_sum_into_a_buffer_is_left_alone():
    qmodel = quantized(SumIntoABuffer())
    fusion = find_fusion(qmodel, in_channels_last(IMAGES))
    assert fusion.chains and not fusion.sums
