"""Settings as ONNX and QONNX models, run by onnxruntime and by the qonnx package."""

import importlib
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, linear_predicate
from qa_lib.errors import DataError
from qa_lib.export import export_setting, load_setting
from qa_lib.export.grid import grid_of
from qa_lib.export.onnx_graph import DOMAIN, MARKER, QuantizedGraph
from qa_lib.metrics import SQNR
from qa_lib.quantization import TensorQuantizer
from qa_lib.quantization.predicates import any_of

pytestmark = [
    pytest.mark.skipif(
        tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6),
        reason="torch writes no such ONNX before 2.6",
    ),
    pytest.mark.filterwarnings("ignore:.*amax of"),
    pytest.mark.filterwarnings("ignore:all activations"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def marked(values, weight):
    """A graph with one marker: of what goes in, or of a weight."""
    helper = onnx.helper
    node = helper.make_node(MARKER, ["values"], ["result"], domain=DOMAIN, number=0)
    sized = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(values.shape))
        for name in ("values", "result")
    ]
    constants = [onnx.numpy_helper.from_array(values, "values")] if weight else []
    graph = helper.make_graph([node], "one", [] if weight else sized[:1], sized[1:], constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def returned(model, values, weight, *, qonnx):
    given = {} if weight else {"values": values}
    if not qonnx:
        onnx.checker.check_model(model)
        return onnxruntime.InferenceSession(model.SerializeToString()).run(None, given)[0]
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    return execute_onnx(ModelWrapper(model), given)["result"]


@pytest.mark.parametrize("qonnx", [False, True], ids=["onnx", "qonnx"])
@pytest.mark.parametrize("num_bits", [*range(2, 9), 11, 16])
@pytest.mark.parametrize("kind", ["signed", "unsigned", "narrow", "weight", "weight by channel"])
def test_levels_are_those_of_the_quantizer(num_bits, kind, qonnx):
    weight, per_channel = kind.startswith("weight"), kind.endswith("channel")
    quantizer = TensorQuantizer(
        num_bits, unsigned=kind == "unsigned", narrow_range=kind == "narrow", axis=1 if per_channel else None
    )
    values = 3 * torch.randn(50, 4, 25, generator=torch.Generator().manual_seed(num_bits))
    quantizer.amax = torch.tensor([0.5, 2.0, 0.0, 4.0]).reshape(1, 4, 1) if per_channel else 2.5
    model = marked(values.numpy(), weight)
    QuantizedGraph(model, {"one": grid_of(quantizer, num_bits)}, onnx).replace(qonnx=qonnx)
    found = torch.from_numpy(np.array(returned(model, values.numpy(), weight, qonnx=qonnx)))
    expected = quantizer(values)
    step = quantizer.amax.max() / grid_of(quantizer, num_bits).levels[1]
    # Rounding differs where a value lies within an ulp of the middle between two levels, and nowhere else.
    off = (found - expected).abs() > 1e-5 * step + 1e-6 * expected.abs()
    assert off.float().mean() <= (2e-4 if num_bits <= 8 else 2e-2)
    assert (found - expected).abs().max() <= 1.01 * step
    kinds = Counter(node.op_type for node in model.graph.node)
    if qonnx:
        assert kinds == {"Quant": 1}
    elif weight:
        assert kinds == {"DequantizeLinear": 1} and (off.sum() == 0 or num_bits > 8)
    else:
        assert kinds["QuantizeLinear"] == kinds["DequantizeLinear"] == 1
        assert kinds["Clip"] == (num_bits < 8 or (num_bits == 8 and kind == "narrow"))


@pytest.mark.parametrize("qonnx", [False, True], ids=["onnx", "qonnx"])
def test_float_and_next_to_nothing(qonnx):
    values = torch.randn(2, 3).numpy()
    for num_bits, amax, expected in ((None, 1.0, values), (4, 2.0**-30, 0 * values)):
        quantizer = TensorQuantizer(num_bits)
        quantizer.amax = amax
        model = marked(values, weight=False)
        QuantizedGraph(model, {"one": grid_of(quantizer, num_bits)}, onnx).replace(qonnx=qonnx)
        assert np.array_equal(returned(model, values, weight=False, qonnx=qonnx), expected)


@pytest.fixture
def both(tiny_model, images):
    quantized = QuantizedActivationsModel(tiny_model, conv2d_predicate, weights=True)
    calibrate(quantized, images)
    return quantized


@pytest.mark.parametrize("format", ["onnx", "qonnx"])
@pytest.mark.parametrize(
    "widths", [(8, 4, 5, 3, 4, 8, 2), (8, None, 5, 3, None, 8, 2), (8, 4, 12, 9, 10, 8, 16)]
)
def test_what_is_written_scores_what_was_measured(both, images, labels, tmp_path, format, widths):
    evaluator = Evaluator(both, images, labels, batch_size=40)
    measured = evaluator.evaluate(widths)
    written = export_setting(tmp_path / "model.onnx", both, measured, format, verify=evaluator)
    assert written.verified.items == 96 and written.verified.differing <= 1
    assert (
        written.verified.expected == measured.score and abs(written.verified.score - measured.score) <= 1 / 96
    )
    assert load_setting(tmp_path / "model.onnx.json").bit_widths == widths
    model = onnx.load(tmp_path / "model.onnx")
    told = {each.key: each.value for each in model.metadata_props}
    assert told["qa_lib.fingerprint"] == measured.fingerprint and '"conv1": 5' in told[
        "qa_lib.bit_widths"
    ].replace("12", "5")
    kinds = Counter(node.op_type for node in model.graph.node)
    switched_on = sum(width is not None for width in widths)
    assert kinds["Quant" if format == "qonnx" else "DequantizeLinear"] == switched_on
    names = {
        node.name.rsplit(".", 1)[0]
        for node in model.graph.node
        if node.op_type in ("Quant", "DequantizeLinear")
    }
    assert names == {name for name, width in zip(both.names, widths, strict=True) if width is not None}
    assert both.bit_widths == (8,) * 7  # which it kept


FLOAT_WEIGHTS = {
    "conv": lambda: [nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, bias=False)],
    "linear": lambda: [nn.Flatten(), nn.Linear(432, 32), nn.Linear(32, 32, bias=False), nn.Linear(32, 10)],
    "transposed": lambda: [nn.ConvTranspose2d(3, 4, 3), nn.Conv2d(4, 8, 3), nn.ConvTranspose2d(8, 4, 3, bias=False), nn.Conv2d(4, 8, 1)],
}  # fmt: skip


@pytest.mark.parametrize("bits", [8, 3])
@pytest.mark.parametrize("name", FLOAT_WEIGHTS)
def test_weights_stay_float_between_quantized_activations(tmp_path, name, bits):
    torch.manual_seed(0)
    net, images = nn.Sequential(*FLOAT_WEIGHTS[name]()).eval(), torch.randn(64, 3, 12, 12)
    qmodel = QuantizedActivationsModel(
        net, lambda module: isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d)
    )
    calibrate(qmodel, images)
    widths = [bits] * len(qmodel.names)
    verified = export_setting(tmp_path / "m.onnx", qmodel, widths, "onnx", verify=images).verified
    # A sum that was rounded otherwise moves an output by a level; rounded weights move all of them.
    assert verified.differing <= 1 and not verified.saturates
    assert verified.largest_difference <= (0.01 if bits == 8 else 1e-6)


def test_the_check_notices_another_model(both, images, labels, tmp_path):
    evaluator = Evaluator(both, images, labels)
    export_setting(tmp_path / "model.onnx", both, [3] * 7, "onnx")
    from qa_lib.export.verification import verify

    same = verify(tmp_path / "model.onnx", both, (3,) * 7, evaluator, qonnx=False)
    other = verify(tmp_path / "model.onnx", both, (8,) * 7, evaluator, qonnx=False)
    assert (
        same.differing <= 3 < other.differing
        and other.largest_difference > 0.01
        and other.score != other.expected
    )
    assert "of 96 items have another answer, no output" in str(other) and "; it scores" in str(other)


def test_inputs_alone_are_compared_without_a_score(both, images, tmp_path):
    written = export_setting(tmp_path / "model.onnx", both, [6] * 7, "onnx", verify=images[:10])
    assert (written.verified.items, written.verified.score) == (10, None)
    assert str(written.verified).startswith("0 of 10 items have another answer, no output is off by")


def test_a_network_that_is_not_ours(tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(num_classes=10).eval()
    images = torch.randn(24, 3, 32, 32)
    qmodel = QuantizedActivationsModel(model, any_of(conv2d_predicate, linear_predicate), weights=True)
    calibrate(qmodel, images[:8])
    evaluator = Evaluator(qmodel, images, metric=SQNR(), batch_size=8)
    written = export_setting(
        tmp_path / "m.onnx", qmodel, evaluator.evaluate([8] * len(qmodel.names)), "onnx", verify=evaluator
    )
    assert written.verified.differing <= 1 and abs(written.verified.score - written.verified.expected) < 1.0


class Twice(nn.Module):
    """One layer for two tensors, and a tensor that is added to itself."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(36, 3)

    def forward(self, images):
        first = self.conv(images)
        return self.head((self.conv(first) + first).flatten(1))


@pytest.mark.parametrize("format", ["onnx", "qonnx"])
def test_a_layer_that_is_called_twice(images, tmp_path, format):
    torch.manual_seed(0)
    qmodel = QuantizedActivationsModel(Twice().eval(), conv2d_predicate, weights=True)
    calibrate(qmodel, images)
    written = export_setting(tmp_path / "m.onnx", qmodel, [4] * 3, format, verify=images)
    assert written.verified.differing <= 1


def test_tokens_and_a_mask_by_name(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, num_labels=3,
        attn_implementation="eager",
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    inputs = {
        "input_ids": torch.randint(30, (6, 7), generator=torch.Generator().manual_seed(0)),
        "attention_mask": torch.ones(6, 7, dtype=torch.long),
    }
    qmodel = QuantizedActivationsModel(model, linear_predicate, weights=True)
    calibrate(qmodel, [inputs])
    with pytest.raises(DataError, match="give inputs=, those of a batch"):
        export_setting(tmp_path / "bert.onnx", qmodel, [8] * len(qmodel.names), "onnx")
    written = export_setting(tmp_path / "bert.onnx", qmodel, [8] * len(qmodel.names), "onnx", verify=inputs)
    assert written.verified.items == 6 and written.verified.differing <= 1
    session = onnxruntime.InferenceSession(tmp_path / "bert.onnx")
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)

    def forward(self, images):
        found = self.conv(images)
        return found.mean((2, 3)) if found.mean() > 0 else found.amax((2, 3))


def test_what_torch_cannot_export_is_a_sentence_and_the_json_is_there(images, tmp_path):
    qmodel = QuantizedActivationsModel(Deciding().eval(), conv2d_predicate)
    calibrate(qmodel, images)
    with pytest.raises(
        DataError, match=r"torch cannot export this model as ONNX \(.*the JSON file has been written"
    ):
        export_setting(tmp_path / "m.onnx", qmodel, [4, 4], "onnx")
    assert load_setting(tmp_path / "m.onnx.json").bit_widths == (4, 4) and not (tmp_path / "m.onnx").exists()


def test_bad_input(both, images, tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match="format is 'tflite'; give one of 'json', 'onnx', 'qonnx', 'state_dict', 'code'"
    ):
        export_setting(tmp_path / "m.tflite", both, [4] * 7, "tflite")
    with pytest.raises(DataError, match="verify= is for 'onnx' and 'qonnx'"):
        export_setting(tmp_path / "m.json", both, [4] * 7, verify=images)
    with pytest.raises(DataError, match=r"give a name that ends in \.onnx"):
        export_setting(tmp_path / "m.json", both, [4] * 7, "onnx")
    with pytest.raises(DataError, match="lies in no folder that exists"):
        (tmp_path / "file").write_text("")
        export_setting(tmp_path / "file" / "m.onnx", both, [4] * 7, "onnx")

    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("qa_lib.export.verification.import_module", missing)
    with pytest.raises(DataError, match=r"needs the package onnx .*pip install 'qa_lib\[export\]'"):
        export_setting(tmp_path / "m.onnx", both, [4] * 7, "onnx")
    assert importlib.import_module("onnx") is onnx


def test_code_sets_the_widths(both, tmp_path):
    written = export_setting(tmp_path / "m.py", both, [8, None, 4, 4, 3, 3, 3], "code")
    assert written.in_float == ("shortcut",)
    exec((tmp_path / "m.py").read_text(), {"qmodel": both})
    assert both.bit_widths == (8, None, 4, 4, 3, 3, 3)


def test_a_state_dict_at_the_setting(both, images, tmp_path):
    export_setting(tmp_path / "m.pt", both, [8, 4, 4, 4, 3, 3, 3], "state_dict")
    state = torch.load(tmp_path / "m.pt", weights_only=True)
    assert both.bit_widths == (8,) * 7
    with torch.no_grad(), both.temporary_bit_widths([8, 4, 4, 4, 3, 3, 3]):
        expected = both(images)
    both.load_state_dict(state)
    assert both.bit_widths == (8, 4, 4, 4, 3, 3, 3)
    with torch.no_grad():
        assert torch.equal(both(images), expected)


def biased(scale):
    """A channel with hardly a weight, or none, and a bias."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2), nn.Flatten(), nn.Linear(4 * 49, 5)
    ).eval()
    with torch.no_grad():
        model[0].weight[2] *= scale
        model[0].bias[2] = 1.5
        model[3].bias[1] = 3.0
    return model


@pytest.mark.parametrize(("scale", "num_bits"), [(0.0, 8), (1e-6, 8), (1.0, 16), (0.0, 16)])
def test_a_bias_stays_what_it_is_in_onnxruntime(tmp_path, scale, num_bits):
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    qmodel = QuantizedActivationsModel(
        biased(scale), lambda m: isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)), weights=True
    )
    calibrate(qmodel, images, method="max")
    written = export_setting(
        tmp_path / "m.onnx", qmodel, [num_bits] * len(qmodel.names), "onnx", verify=images
    )
    assert written.verified.differing == 0 and written.verified.largest_difference < 0.02
    assert "no output is off by more than" in str(written.verified)
    default = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"input": images.numpy()})[0]
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    exact = onnxruntime.InferenceSession(tmp_path / "m.onnx", options).run(None, {"input": images.numpy()})[0]
    saturates = not (default == exact).all()  # on processors without VNNI
    assert written.verified.saturates == saturates
    assert (
        "add_session_config_entry('session.x64quantprecision', '1')" in str(written.verified)
    ) == saturates


def test_one_item_does_not_fix_how_many_there_are(both, images, tmp_path):
    export_setting(tmp_path / "m.onnx", both, [8] * 7, "onnx", inputs=images[:1])
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert session.run(None, {"input": images[:7].numpy()})[0].shape == (7, 5)


def test_what_cannot_be_written_or_run_is_a_sentence(both, images, tmp_path, tiny_model):
    for given in (images.numpy(), images[:0], 3):
        with pytest.raises(DataError, match="give an evaluator, or inputs"):
            export_setting(tmp_path / "m.onnx", both, [8] * 7, "onnx", verify=given)
    with pytest.raises(DataError, match=r"give a name that ends in \.pt"):
        export_setting(tmp_path / "m.onnx", both, [8] * 7, "state_dict")
    both.remove()
    double = QuantizedActivationsModel(tiny_model.double(), conv2d_predicate)
    calibrate(double, images.double())
    with pytest.raises(DataError, match=r"torch\.float64 numbers.*export model\.float\(\)"):
        export_setting(tmp_path / "m.onnx", double, [8] * 4, "onnx", verify=images.double())
