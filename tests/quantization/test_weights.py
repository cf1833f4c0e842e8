"""Fake quantizers of weights, against the toolkit's own layers."""

import copy
import threading
import time
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from qa_lib import (
    Evaluator,
    IncrementalForward,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    explore,
    sensitivity,
)
from qa_lib.calibration.weights import weight_amax
from qa_lib.costs import BitOperations, Products, WeightMemory, cost_of
from qa_lib.errors import (
    BitWidthError,
    CalibrationError,
    LayerError,
    NotCalibratedError,
    PredicateError,
    SearchError,
)
from qa_lib.evaluation import LiveEvaluator
from qa_lib.quantization.predicates import all_of, any_of, linear_predicate, name_matches, not_
from qa_lib.quantization.toolkit import QuantDescriptor
from qa_lib.quantization.toolkit import toolkit_nn as toolkit

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*amax of"),  # with random weights some layers are silent
    pytest.mark.filterwarnings("ignore:all activations"),
]
LAYERS = any_of(conv2d_predicate, linear_predicate, lambda m: isinstance(m, (nn.Conv1d, nn.ConvTranspose2d)))


@pytest.fixture
def both(tiny_model, images):
    """Calibrated; quantizers: input, shortcut, conv1, conv2 and the weights of these."""
    quantized = QuantizedActivationsModel(tiny_model, conv2d_predicate, weights=True)
    calibrate(quantized, images.split(40))
    return quantized


def toolkit_twin(qmodel, model):
    """``model`` with the toolkit's own layers in place of those whose weights are quantized, input quantizers off, and its quantizers behind them;
    and all of these by our names."""
    twin, theirs = copy.deepcopy(model), {}
    for name, ours in qmodel.fake_quantizers.items():
        theirs[name] = toolkit.TensorQuantizer(QuantDescriptor(axis=ours.axis, unsigned=ours.unsigned))
    for name, module in list(twin.named_modules()):
        if f"{name}.weight" in theirs:
            options = {"bias": module.bias is not None, "quant_desc_weight": QuantDescriptor(axis=0)}
            if isinstance(module, nn.Conv2d):
                same = {
                    key: getattr(module, key)
                    for key in ("stride", "padding", "dilation", "groups", "padding_mode")
                }
                made = toolkit.QuantConv2d(
                    module.in_channels, module.out_channels, module.kernel_size, **same, **options
                )
            else:
                made = toolkit.QuantLinear(module.in_features, module.out_features, **options)
            made.weight, made.bias = module.weight, module.bias
            made.input_quantizer.disable()
            made._weight_quantizer = theirs[f"{name}.weight"]
            if name in theirs:
                made.register_forward_hook(lambda m, i, output, q=theirs[name]: q(output.clone()))
            parent, _, child = name.rpartition(".")
            setattr(twin.get_submodule(parent), child, made.eval())
    return nn.Sequential(theirs["input"], twin).eval(), theirs


def random_like(model):
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "per_channel"),
    [
        (lambda: torchvision.models.resnet18(num_classes=10), True),
        (lambda: torchvision.models.mobilenet_v2(num_classes=10, width_mult=0.35), True),  # depthwise
        (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=10), False),
    ],
    ids=["resnet18", "mobilenet_v2", "shufflenet"],
)
def test_outputs_are_those_of_the_toolkits_layers(network, per_channel):
    model = random_like(network())
    plain = copy.deepcopy(model)
    inputs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    qmodel = QuantizedActivationsModel(
        model, any_of(conv2d_predicate, linear_predicate), weights=True, per_channel=per_channel
    )
    calibrate(qmodel, inputs)
    activations, weights = len(qmodel.activation_fake_quantizers), len(qmodel.weight_fake_quantizers)
    assert weights == activations - 1
    twin, theirs = toolkit_twin(qmodel, plain)
    for width, weight_width in ((4, 8), (8, 4), *((n, n) for n in range(2, 9))):
        widths = [width] * activations + [weight_width] * weights
        qmodel.bit_widths = widths
        with torch.no_grad():
            for name, num_bits in zip(qmodel.names, widths, strict=True):
                theirs[name].num_bits = num_bits
                theirs[name].amax = qmodel.fake_quantizers[name].amax_at(num_bits).numpy()
            assert torch.equal(qmodel(inputs), twin(inputs)), (width, weight_width)
    qmodel.bit_widths = [None] * len(qmodel.names)
    with torch.no_grad():
        assert torch.equal(qmodel(inputs), plain(inputs))


class Kinds(nn.Module):
    """Every layer whose weight can be quantized."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(4, 6, 3, padding=1, groups=2)
        self.down = nn.Conv2d(1, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 3, 2, stride=2)
        self.head = nn.Linear(3, 5)

    def forward(self, images):
        found = self.one(self.down(images).flatten(2)).unflatten(2, images.shape[2:])
        return self.head(self.head.weight.new_ones(()) * self.up(found).mean((2, 3)))


def test_each_kind_of_layer_has_its_channels_on_its_own_axis(images):
    torch.manual_seed(0)
    model = Kinds().eval()
    qmodel = QuantizedActivationsModel(model, LAYERS, weights=True)
    calibrate(qmodel, images, method="max")
    for name, axis, channels in (("one", 0, 6), ("down", 0, 4), ("up", 1, 3), ("head", 0, 5)):
        weight, quantizer = model.get_submodule(name).weight, qmodel.weight_fake_quantizers[f"{name}.weight"]
        others = [dim for dim in range(weight.dim()) if dim != axis]
        assert quantizer.amax.numel() == channels
        assert torch.equal(quantizer.amax, weight.detach().abs().amax(others, keepdim=True))
    evaluator = Evaluator(qmodel, images, images.flatten(1)[:, :1].long().flatten())
    live = LiveEvaluator.of(evaluator)
    itself = Evaluator(qmodel, images, images.flatten(1)[:, :1].long().flatten(), replicas=False)
    for widths in np.random.default_rng(0).integers(2, 9, (4, len(qmodel.names))).tolist():
        assert evaluator.evaluate(widths) == live.evaluate(tuple(widths)) == itself.evaluate(widths)


def test_the_models_own_weights_stay_and_come_back(both, tiny_model, images):
    before = {name: parameter.clone() for name, parameter in tiny_model.named_parameters()}
    objects = dict(tiny_model.named_parameters())
    keys = list(tiny_model.state_dict())
    both.bit_widths = [4] * 7
    both(images)
    with pytest.raises(RuntimeError):
        both(torch.rand(3, 2, 6, 6))  # two channels: it fails in the middle
    assert both.first_is_the_input and list(tiny_model.state_dict()) == keys
    for name, parameter in tiny_model.named_parameters():
        assert parameter is objects[name] and torch.equal(parameter, before[name])
    model = both.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not torch.equal(both.fake_quantizers["conv1.weight"](model.conv1.weight), model.conv1.weight)


def test_a_thread_that_calls_the_model_itself_disturbs_nobody(both, tiny_model, images):
    weight, inside = tiny_model.conv1.weight, threading.Event()
    with torch.no_grad():
        expected = both(images)

        def linger(*_):
            if threading.current_thread() is other and not inside.is_set():
                inside.set()
                time.sleep(0.3)  # with the narrow weight in the module

        tiny_model.conv1.register_forward_pre_hook(linger)
        both.bit_widths = [2] * 7
        other = threading.Thread(target=tiny_model, args=(images,))
        other.start()
        assert inside.wait(20)
        both.bit_widths = [8] * 7
        assert torch.equal(both(images), expected)
        other.join()
        assert torch.equal(both(images), expected) and tiny_model.conv1.weight is weight


def test_replicas_live_and_the_model_itself_agree_and_share_what_they_make(both, images, labels):
    evaluator = Evaluator(both, images, labels, batch_size=40, workers=2)
    itself = Evaluator(both, images, labels, batch_size=40, replicas=False)
    live, incremental = LiveEvaluator.of(evaluator), IncrementalForward(both, images.split(40))
    assert incremental.traced
    for widths in np.random.default_rng(1).integers(2, 9, (6, 7)).tolist():
        expected = itself.evaluate(widths)
        assert evaluator.evaluate(widths) == expected == live.evaluate(tuple(widths))
        both.bit_widths = widths
        with torch.no_grad():
            whole = torch.cat([both(batch) for batch in images.split(40)])
        assert torch.equal(incremental(widths), whole)
    # What depends on a weight is run anew, and nothing before it.
    incremental.rebase(widths)
    before = incremental.passes
    incremental({"conv2.weight": 2 if widths[-1] != 2 else 3})
    assert 0 < incremental.passes - before < 1


def test_a_weight_that_changes_is_measured_as_it_is_now(both, tiny_model, images, labels):
    evaluator = Evaluator(both, images, labels, batch_size=40)
    first = evaluator.evaluate([8, 8, 8, 8, 3, 3, 3])
    with torch.no_grad():
        tiny_model.conv1.weight.mul_(-1.0)
    both.fake_quantizers["conv1.weight"].amax = 0.01
    second = evaluator.evaluate([8, 8, 8, 8, 3, 3, 3])
    assert second.fingerprint != first.fingerprint
    assert second == Evaluator(both, images, labels, batch_size=40, replicas=False).evaluate(
        [8, 8, 8, 8, 3, 3, 3]
    )


def test_names_widths_and_the_table(both):
    assert both.names == (
        "input",
        "shortcut",
        "conv1",
        "conv2",
        "shortcut.weight",
        "conv1.weight",
        "conv2.weight",
    )
    assert list(both.activation_fake_quantizers) == list(both.names[:4])
    assert list(both.weight_fake_quantizers) == list(both.names[4:])
    both.bit_widths = {"conv1.weight": 3}
    assert both.bit_widths == (8, 8, 8, 8, 8, 3, 8)
    with pytest.raises(BitWidthError, match="4 values, but the model has 7 quantizers"):
        both.bit_widths = [8] * 4
    table = both.layer_table().set_index("name")
    assert table.at["conv1.weight", "type"] == "Conv2d weight"
    assert table.at["conv2.weight", "weights"] == 4 * 4 * 9 and table.at["conv2", "weights"] == 4 * 4 * 9
    assert table.loc["conv1.weight", ["macs", "elements_per_image"]].isna().all()
    assert both.calibration.weights == "mse"


def test_without_asking_weights_are_left_alone(qmodel):
    assert (
        not qmodel.weight_fake_quantizers
        and not qmodel.weighted_modules
        and qmodel.calibration.weights is None
    )
    with pytest.raises(SearchError, match=r"no weight has a quantizer.*weights=True"):
        cost_of(qmodel, "weight_memory")


@pytest.mark.parametrize("num_bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("axis", [0, None])
def test_mse_is_no_worse_than_anything_that_one_could_have_tried(num_bits, axis):
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(num_bits))
    weight[1] = 0.0
    weight[2] *= 100.0
    largest = 2 ** (num_bits - 1) - 1

    def errors(amax):
        quantizer = toolkit.TensorQuantizer(QuantDescriptor(num_bits=num_bits, axis=axis))
        quantizer.amax = amax.numpy()
        each = (quantizer(weight) - weight).square().flatten(1).sum(1)
        return each if axis == 0 else each.sum()

    found = weight_amax(weight, axis, "mse", num_bits)
    most = weight_amax(weight, axis, "max", num_bits)
    assert (found <= most).all() and found.shape == ((5, 1, 1, 1) if axis == 0 else ())
    reached = errors(found)
    for share in np.linspace(0.1, 1.0, 19):
        assert (reached <= errors(most * float(share)) * (1 + 1e-5) + 1e-9).all()
    if num_bits == 2:
        assert float((reached / errors(most)).nan_to_num(0).max()) < 0.9 and largest == 1
    assert torch.equal(weight_amax(weight, axis, "mse", 9), most)


def test_a_channel_of_zeros_stays_zero_at_every_width(tiny_model, images):
    with torch.no_grad():
        tiny_model.conv1.weight[0] = 0.0
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate, weights=True)
    calibrate(qmodel, images)
    for num_bits in (2, 8, 16):
        qmodel.bit_widths = {"conv1.weight": num_bits}
        quantized = qmodel.fake_quantizers["conv1.weight"](tiny_model.conv1.weight)
        assert torch.isfinite(quantized).all() and not quantized[0].any()


def test_calibration_says_what_it_cannot_do(tiny_model, images):
    qmodel = QuantizedActivationsModel(tiny_model, conv2d_predicate, weights=True)
    with pytest.raises(NotCalibratedError, match=r"conv1\.weight"):
        qmodel.check_calibrated()
    with pytest.raises(NotCalibratedError):
        qmodel(images)
    with pytest.raises(CalibrationError, match="weights is 'entropy'; allowed are 'max', 'mse', None"):
        calibrate(qmodel, images, weights="entropy")
    assert calibrate(qmodel, images, method="max").weights == "max"
    assert not qmodel.fake_quantizers["conv1.weight"].has_amax_by_width
    assert calibrate(qmodel, images, method="max", weights="mse").weights == "mse"
    assert qmodel.fake_quantizers["conv1.weight"].has_amax_by_width
    calibrate(qmodel, images, per_width=False)
    assert not qmodel.fake_quantizers["conv1.weight"].has_amax_by_width
    record = calibrate(qmodel, qmodel.statistics)  # without an image
    assert record.passes == 0 and qmodel.fake_quantizers["conv1.weight"].has_amax_by_width
    calibrate(qmodel, images, method="output", images=16, progress=False)
    qmodel.check_calibrated([2] * 7)


def test_a_state_dict_brings_the_weights_grids_along(both, tiny_model, images, tmp_path):
    both.bit_widths = {"conv1.weight": 3, "conv2.weight": None}
    torch.save(both.state_dict(), tmp_path / "model.pt")
    from tiny import TinyNet

    other = QuantizedActivationsModel(TinyNet().eval(), conv2d_predicate, weights=True)
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    other.load_state_dict(state)
    assert other.bit_widths == both.bit_widths and other.calibration == both.calibration
    with torch.no_grad():
        assert torch.equal(other(images), both(images))
    key = "quantizers.conv1/weight._amax"
    with pytest.raises(CalibrationError, match="the amax of this weight"):
        other.load_state_dict(state | {key: torch.ones(3, 1, 1, 1)})
    whole = QuantizedActivationsModel(TinyNet().eval(), conv2d_predicate, weights=True, per_channel=False)
    with pytest.raises(CalibrationError, match="make the model with the same per_channel="):
        whole.load_state_dict(state)
    calibrate(whole, images)
    with pytest.raises(CalibrationError, match="make the model with the same per_channel="):
        other.load_state_dict(whole.state_dict())
    with pytest.raises(LayerError, match="wrap the same model with the same predicate"):
        QuantizedActivationsModel(TinyNet().eval(), conv2d_predicate).load_state_dict(state)


def test_gradients_go_through_to_the_weight(both, tiny_model, images):
    both.bit_widths = [8, 8, 8, 8, 4, 4, 4]
    both(images).square().mean().backward()
    assert tiny_model.conv1.weight.grad.abs().sum() > 0


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.body, self.head = (
            nn.Embedding(9, 4),
            nn.Linear(4, 4),
            nn.Linear(4, 9, bias=False),
        )
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.body(self.embedding(tokens)))


def sharing():
    first, second = nn.Linear(4, 4), nn.Linear(4, 3)
    second.weight = nn.Parameter(first.weight.data[:3])
    return nn.Sequential(first, second)


def recurrent():
    return nn.Sequential(OrderedDict(lstm=nn.LSTM(4, 4), pick=nn.Identity()))


@pytest.mark.parametrize(
    ("model", "weights", "said"),
    [
        (Tied, True, r"the weight of 'head' is that of 'embedding' as well.*leave 'head' out"),
        (recurrent, lambda m: isinstance(m, nn.LSTM), r"'lstm' \(LSTM\) has weight_ih_l0, weight_hh_l0"),
        (
            lambda: nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))),
            linear_predicate,
            "computes its weight anew at each call",
        ),
        (
            lambda: nn.Sequential(
                nn.Linear(4, 4), torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
            ),
            True,
            "'1' .*computes its weight anew at each call",
        ),
        (sharing, True, "the weight of '0' is that of '1' as well"),
        (lambda: nn.Sequential(nn.ReLU()), lambda m: isinstance(m, nn.ReLU), r"'0' \(ReLU\) has no weight"),
        (lambda: nn.Sequential(nn.ReLU()), True, "finds no layer with weights among the chosen ones"),
        (lambda: nn.Sequential(nn.Linear(4, 4)), conv2d_predicate, "the predicate chooses no module"),
        (lambda: nn.Sequential(nn.Linear(4, 4)), 8, "a predicate is a function"),
        (lambda: nn.Sequential(nn.Linear(4, 4)), None, "a predicate is a function"),
    ],
)
def test_what_has_no_weight_of_its_own_is_a_sentence(model, weights, said):
    chooses = lambda module: isinstance(module, (nn.Linear, nn.ReLU, nn.LSTM))  # noqa: E731
    with pytest.raises(PredicateError, match=said):
        QuantizedActivationsModel(model(), chooses, weights=weights)


def test_of_a_tied_weight_the_rest_can_be_chosen():
    tokens = torch.arange(9).reshape(3, 3)
    qmodel = QuantizedActivationsModel(
        Tied().eval(), linear_predicate, weights=all_of(linear_predicate, not_(name_matches("head")))
    )
    calibrate(qmodel, tokens)
    assert list(qmodel.weight_fake_quantizers) == ["body.weight"]


def test_weights_that_are_used_without_calling_their_layer_are_noticed():
    attention = nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)).eval()
    qmodel = QuantizedActivationsModel(
        attention, name_matches("0"), weights=all_of(linear_predicate, name_matches("*out_proj"))
    )
    with pytest.raises(
        LayerError, match=r"never reaches 1\.self_attn\.out_proj: nn\.MultiheadAttention uses"
    ):
        calibrate(qmodel, torch.rand(5, 3, 4))


def test_costs_see_both_operands(both):
    operations = BitOperations.of(both)
    assert operations.is_sum is False and WeightMemory.of(both).is_sum
    widths = (8, 2, 4, 8, 3, 5, 2)  # input, shortcut, conv1, conv2, and the weights of these
    macs = {"shortcut": 36 * 4, "conv1": 36 * 4 * 9, "conv2": 36 * 4 * 4 * 9}
    read = {"shortcut": 8, "conv1": 8, "conv2": 4}
    weight = {"shortcut": 3, "conv1": 5, "conv2": 2}
    by_hand = sum(macs[name] * read[name] * weight[name] for name in macs)
    # The classifier reads the sum of shortcut and conv2; its weight has no quantizer.
    by_hand += 144 * 5 * 8 * 32
    assert operations(widths) == by_hand / 1e9
    assert WeightMemory.of(both)(widths) == (4 * 3 + 36 * 5 + 144 * 2) / 8000
    traffic = cost_of(both, "activation_traffic")
    assert traffic(widths) == traffic((*widths[:4], 8, 8, 8)) > 0
    other = Products("conv1", 10, 5, (("input",), ("conv1",)), "")
    assert BitOperations(type(both.dataflow)((), (other,)), both.names)(widths) == 10 * 8 * 4 / 1e9


@pytest.mark.slow
def test_a_search_over_both_finds_what_is_measured_again(both, images, labels):
    evaluator = Evaluator(both, images, labels, batch_size=40)
    table = sensitivity(both, images[:40], progress=False)
    assert table.names == both.names
    found = explore(evaluator, min_accuracy=0.7, evaluations=60, cost="bit_operations", progress=False)
    again = Evaluator(both, images, labels, batch_size=40, replicas=False)
    for point in found.front_evaluations:
        assert again.evaluate(point.bit_widths) == point
    assert found.front["conv2.weight"].min() < 8
