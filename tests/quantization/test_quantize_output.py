"""Quantizing in place must never show: each case is compared with a model that only copies."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from qa_lib import QuantizedActivationsModel, calibrate
from qa_lib.quantization import quantize_output


class Remembers(nn.Conv2d):
    """Keeps what it returns, and the model looks at it again."""

    def forward(self, images):
        self.kept = super().forward(images)
        return self.kept


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, images):
        features = self.first(images)
        return torch.cat([features, self.second(features), images + features], 1)


class Twice(nn.Module):
    """Returns one tensor in two places."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, images):
        features = self.conv(images)
        return torch.stack([features, features])


class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = Remembers(1, 2, 1)

    def forward(self, images):
        features = self.conv(images)
        return torch.cat([features, self.conv.kept], 1)


class Constant(nn.Module):
    """Hands out its own parameter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(1, 1, 1, 1) + 0.123)

    def forward(self, images):
        return self.weight


class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.constant = Constant()

    def forward(self, images):
        return images + self.constant(images) + self.constant(images)


MODELS = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)
    ),
    "input handed back": lambda: nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.Conv2d(1, 1, 1)),
    "views": lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (1, 36)), nn.Linear(36, 4)),
    "relu in place": lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)),
    "residual": Residual,
    "returned twice": Twice,
    "kept by the module": Reads,
    "a parameter": Adds,
}


def everything_inside(module):
    return not isinstance(module, nn.Sequential)


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(1)
    return MODELS[request.param]().eval()


@pytest.mark.parametrize("num_bits", [2, 5])
def test_in_place_gives_what_copying_gives(model, images, num_bits, monkeypatch):
    results, inputs = [], images.clone()
    for in_place in (True, False):
        qmodel = QuantizedActivationsModel(copy.deepcopy(model), everything_inside, num_bits=num_bits)
        if not in_place:
            monkeypatch.setattr(quantize_output, "owns_its_output", lambda module: False)
        calibrate(qmodel, inputs)
        with torch.no_grad():
            results += [qmodel(inputs), qmodel(inputs)]
    assert all(torch.equal(results[0], result) for result in results[1:])
    assert torch.equal(inputs, images)


def test_the_images_are_never_overwritten_even_by_the_first_layer(images):
    qmodel = QuantizedActivationsModel(nn.Sequential(nn.Identity()), everything_inside, num_bits=2)
    calibrate(qmodel, images)
    before = images.clone()
    qmodel.bit_widths = {"input": None}  # the identity gets the images themselves
    with torch.no_grad():
        qmodel(images)
    assert torch.equal(images, before)


def test_an_output_is_really_overwritten_where_it_may_be(images):
    qmodel = QuantizedActivationsModel(nn.Sequential(nn.Conv2d(1, 1, 1)), everything_inside, num_bits=2)
    calibrate(qmodel, images)
    made = torch.randn(4, 1, 2, 2)
    hook = next(iter(qmodel.model[0]._forward_hooks.values()))
    with torch.no_grad():
        assert hook(qmodel.model[0], None, made) is made


def test_what_another_hook_has_kept_is_left_alone(images):
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    kept = []
    model[0].register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        expected = model(images).clone()
        qmodel = QuantizedActivationsModel(model, everything_inside, num_bits=2)
        calibrate(qmodel, images)
        qmodel(images)
    assert torch.equal(
        kept[-1], functional.conv2d(kept_input(qmodel, images), model[0].weight, model[0].bias)
    )
    assert torch.equal(kept[0], expected)


def kept_input(qmodel, images):
    return qmodel.activation_fake_quantizers["input"](images)


def test_a_forward_put_on_the_instance_is_left_alone(images):
    model = nn.Sequential(nn.ReLU())
    model[0].forward = lambda values: values  # hands its input back
    qmodel = QuantizedActivationsModel(model, everything_inside, num_bits=2)
    calibrate(qmodel, images)
    qmodel.bit_widths = {"input": None}
    before = images.clone()
    with torch.no_grad():
        qmodel(images)
    assert torch.equal(images, before)


def test_gradients_still_flow(images):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sigmoid())
    qmodel = QuantizedActivationsModel(model, everything_inside, num_bits=4)
    calibrate(qmodel, images)
    qmodel(images).sum().backward()
    assert float(model[0].weight.grad.abs().sum()) > 0


def test_what_a_global_hook_keeps_is_left_as_it_was(qmodel, images):
    """A hook of all modules may keep what a convolution returned."""
    kept = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, inputs, output: kept.append(output) if module is qmodel.model.conv1 else None
    )
    try:
        with torch.no_grad(), qmodel.temporary_bit_widths([2] * len(qmodel.names)):
            qmodel(images)
            expected = kept.pop().clone()
            quantized = qmodel.activation_fake_quantizers["conv1"](expected)
            qmodel(images)
    finally:
        handle.remove()
    assert not torch.equal(expected, quantized) and torch.equal(kept.pop(), expected)
