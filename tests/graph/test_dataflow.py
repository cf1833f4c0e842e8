"""What a pass stores and multiplies, on networks that are not ours too."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from qa_lib import QuantizedActivationsModel, any_of, calibrate, conv2d_predicate, linear_predicate
from qa_lib.costs import Dataflow, cost_of
from qa_lib.errors import LayerError, SearchError
from qa_lib.graph import with_modules


def layers(module):
    return isinstance(module, (nn.Conv2d, nn.Linear))


def watched(model, images, predicate=layers):
    qmodel = QuantizedActivationsModel(model.eval(), predicate, num_bits=None)
    with torch.no_grad():
        qmodel.learn_inputs(images)
        qmodel.learn_dataflow(images)
    return qmodel, qmodel.dataflow


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2", "resnet18", "squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v3_small", "densenet121"],
)
def test_multiply_adds_are_those_that_torch_counts(name):
    model, images = getattr(torchvision.models, name)(weights=None), torch.rand(2, 3, 64, 64)
    qmodel, flow = watched(model, images)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        qmodel(images)
    assert sum(each.macs for each in flow.products) == counter.get_total_flops() // 2 // 2
    weights = sum(m.weight.numel() for m in model.modules() if layers(m))
    assert sum(each.weights for each in flow.products) == weights and not flow.uncounted
    # Each quantizer writes one tensor, and what a layer makes is what its quantizer writes.
    assert [each.name for each in flow.tensors if each.quantizers == (each.name,)] == list(qmodel.names)
    assert all(each.quantizer == each.layer for each in flow.products)
    assert all(each.made <= each.needed < len(flow.tensors) for each in flow.tensors)


class Branches(nn.Module):
    """Functions on the way, a residual, a concatenation, a gate, a view, and a result that nobody reads."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.left, self.right, self.unused = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 9, 1)
        self.head = nn.Linear(4 * 16, 3)

    def forward(self, images):
        stem = torch.relu(self.norm(self.stem(images)))
        self.unused(stem)
        left = functional.hardswish(self.left(stem))
        right = self.right(stem)
        return self.head(torch.cat([left + stem, right * torch.sigmoid(right)], dim=1).flatten(1))


def test_norms_and_activations_are_computed_on_the_way_and_sums_are_stored():
    _, flow = watched(
        Branches(),
        torch.rand(2, 1, 4, 4),
        lambda m: layers(m) and m.out_channels != 9 if isinstance(m, nn.Conv2d) else layers(m),
    )
    assert [(t.name, t.elements, t.quantizers, t.made, t.needed) for t in flow.tensors] == [
        ("input", 16, ("input",), 0, 1),
        ("stem", 32, ("stem",), 1, 4),
        ("left", 32, ("left",), 2, 4),
        ("right", 32, ("right",), 3, 5),
        ("", 32, ("left", "stem"), 4, 5),
        ("", 64, ("left", "stem", "right"), 5, 6),
        ("head", 3, ("head",), 6, 6),
    ]
    assert [(p.layer, p.macs, p.weights, p.operands) for p in flow.products] == [
        ("stem", 18 * 16, 18, (("input",),)),
        ("left", 4 * 16, 4, (("stem",),)),
        ("right", 4 * 16, 4, (("stem",),)),
        ("head", 64 * 3, 192, (("left", "stem", "right"),)),
    ]


def test_the_quantizer_behind_an_activation_writes_what_the_layer_makes():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1))
    _, flow = watched(model, torch.rand(2, 1, 4, 4), lambda m: isinstance(m, nn.ReLU))
    assert [(t.name, t.quantizers) for t in flow.tensors] == [
        ("input", ("input",)),
        ("2", ("2",)),
        ("3", ("",)),
    ]
    assert [(p.layer, p.quantizer, p.operands) for p in flow.products] == [
        ("0", "2", (("input",),)),
        ("3", "", (("2",),)),
    ]


def test_a_tensor_that_others_read_before_it_is_quantized_is_stored_beside():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate = nn.Conv2d(1, 2, 1), nn.ReLU6()

        def forward(self, images):
            made = self.conv(images)
            return made * self.gate(made + 3)

    _, flow = watched(Gated(), torch.rand(2, 1, 4, 4), lambda m: isinstance(m, nn.ReLU6))
    assert [(t.name, t.quantizers) for t in flow.tensors] == [
        ("input", ("input",)), ("conv", ("",)), ("gate", ("gate",)), ("", ("", "gate")),
    ]  # fmt: skip


def test_a_shared_module_writes_a_tensor_each_time():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, images):
            return self.conv(self.conv(images))

    qmodel, flow = watched(Twice(), torch.rand(2, 1, 4, 4))
    assert [t.name for t in flow.tensors] == ["input", "conv", "conv"]
    calibrate(qmodel, torch.rand(8, 1, 4, 4), method="max")
    row = qmodel.layer_table().set_index("name").loc["conv"]
    assert (row["macs"], row["weights"], row["fed_by"]) == (32, 1, "input, conv")


def test_of_a_list_of_items_one_is_watched():
    class Each(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, images):
            return [self.conv(image[None]) for image in images]

    _, flow = watched(Each(), [torch.rand(3, 6, 6), torch.rand(3, 6, 6)])
    assert [(t.name, t.elements) for t in flow.tensors] == [("input", 108), ("conv", 72)]
    assert [p.macs for p in flow.products] == [36 * 54]


def test_sums_that_are_modules_have_a_width_of_their_own():
    model = with_modules(Branches().eval())
    _, flow = watched(
        model, torch.rand(2, 1, 4, 4), lambda m: layers(m) or type(m).__name__ in ("Add", "Concatenate")
    )
    assert ("add", ("add",)) in [(t.name, t.quantizers) for t in flow.tensors]
    assert flow.products[-1].operands == (("cat",),)


def test_tokens_attention_and_projections():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.q, self.k, self.v = nn.Embedding(9, 8), *(nn.Linear(8, 8) for _ in range(3))

        def forward(self, tokens):
            x = self.tokens(tokens)[:, None]
            return functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)).sum(dim=(1, 2))

    _, flow = watched(
        Attends(), torch.randint(0, 9, (2, 5)), lambda m: isinstance(m, (nn.Linear, nn.Embedding))
    )
    assert flow.tensors[0].name == "tokens" and not flow.uncounted  # tokens themselves are no activations
    assert [(p.layer, p.macs, p.operands) for p in flow.products] == [
        *((name, 5 * 8 * 8, (("tokens",),)) for name in "qkv"),
        ("", 5 * 5 * 8, (("q",), ("k",))),
        ("", 5 * 5 * 8, (("",), ("v",))),
    ]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_is_one_operation_that_nobody_counts(kind):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.steps, self.head = nn.Linear(4, 4), kind(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, rows):
            return self.head(self.steps(self.first(rows))[0][:, -1])

    qmodel, flow = watched(Recurrent(), torch.rand(2, 5, 4), lambda m: isinstance(m, (kind, nn.Linear)))
    assert [(t.name, t.elements, t.quantizers, t.made, t.needed) for t in flow.tensors] == [
        ("input", 20, ("input",), 0, 1),
        ("first", 20, ("first",), 1, 2),
        ("steps", 30, ("steps",), 2, 3),
        ("head", 2, ("head",), 3, 3),
    ]
    assert flow.uncounted == (f"steps ({kind.__name__})",) and [p.layer for p in flow.products] == [
        "first",
        "head",
    ]
    calibrate(qmodel, torch.rand(8, 5, 4), method="max")
    table = qmodel.layer_table().set_index("name")
    assert table["macs"].isna().tolist() == [False, False, True, False] and table["fed_by"]["head"] == "steps"


def test_watching_leaves_the_model_as_it_was():
    model = Branches().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    watched(model, torch.rand(2, 1, 4, 4))[0].remove()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_it_is_saved_with_the_model(qmodel, tiny_model):
    flow, names = qmodel.dataflow, qmodel.names
    assert Dataflow.from_state(flow.state(), names) == flow
    for damage in (
        lambda state: state["tensors"][0].update(quantizers=["pool"]),
        lambda state: state["tensors"][0].update(needed=-1),
        lambda state: state["products"][0].update(macs=1.5),
    ):
        state = flow.state()
        damage(state)
        with pytest.raises(ValueError, match="dataflow"):
            Dataflow.from_state(state, names)


class Coupling(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.o = nn.Linear(8, 64), nn.Linear(64, 8), nn.Linear(16, 4)

    def forward(self, x):
        x = x.clone()
        x1, x2 = x[:, :8], x[:, 8:]
        x2 += self.b(self.a(x1))
        return self.o(x)


class Filled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 8), nn.Linear(16, 4)

    def forward(self, x):
        y = torch.zeros(len(x), 16)
        y[:, :8] = self.a(x)
        y[:, 8:] = x[:, :8]
        return self.b(y)


@pytest.mark.parametrize("network", [Coupling, Filled])
def test_what_is_written_into_a_part_of_a_tensor_is_no_known_dataflow(network):
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(network().eval(), linear_predicate)
    calibrate(qmodel, torch.randn(6, 16))
    for name in ("bit_operations", "peak_activation_memory"):
        with pytest.raises(LayerError, match="cannot be watched"):
            cost_of(qmodel, name)
    assert cost_of(qmodel, "activation_traffic")([8] * len(qmodel.names)) > 0


def test_overwriting_a_whole_tensor_is_followed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(8, 3)).eval()
    qmodel = QuantizedActivationsModel(model, any_of(conv2d_predicate, linear_predicate))
    calibrate(qmodel, torch.rand(4, 1, 2, 2))
    assert [each.macs for each in qmodel.dataflow.products] == [8, 24]


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.v = nn.Linear(4, 16), nn.Parameter(torch.ones(16))

    def forward(self, x):
        return self.a(x) @ self.v


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Bilinear(6, 6, 5)

    def forward(self, x):
        y = self.a(x)
        return self.b(y, y)


@pytest.mark.parametrize("network", [Vector, Bilinear])
def test_products_that_torch_has_no_formula_for_are_refused(network):
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(network().eval(), linear_predicate)
    calibrate(qmodel, torch.randn(6, 4))
    with pytest.raises(SearchError, match="nobody knows the multiply-adds of"):
        cost_of(qmodel, "bit_operations")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.l, self.b = nn.Linear(16, 16), nn.LSTM(16, 64, batch_first=True), nn.Linear(64, 4)

    def forward(self, x):
        return self.b(self.l(self.a(x))[0])


def test_what_a_recurrent_layer_returns_without_a_quantizer_is_float():
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(Recurrent().eval(), linear_predicate)
    calibrate(qmodel, torch.randn(6, 10, 16))
    peak = cost_of(qmodel, "peak_activation_memory")
    assert peak([8, 8, 8]) == (10 * 16 * 8 + 10 * 64 * 32) / 8000


class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.b(torch.fft.irfft(torch.fft.rfft(self.a(x)) * 2, n=16))


def test_complex_numbers_take_the_room_of_two():
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(Spectrum().eval(), linear_predicate)
    calibrate(qmodel, torch.randn(6, 16))
    assert 18 in [tensor.elements for tensor in qmodel.dataflow.tensors]  # 9 frequencies
