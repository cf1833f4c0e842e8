"""Settings for ModelOpt and AIMET: run by the one where it is installed, compared with the documented layout of the other."""

import copy
import json
import warnings

import pytest
import torch
from tiny import make_tiny_model
from toolkit_networks import calibrate_by_toolkit, made_by_toolkit

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, linear_predicate
from qa_lib.errors import DataError
from qa_lib.export import export_setting, load_setting
from qa_lib.quantization.predicates import any_of
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn

WIDTHS = (8, 4, None, 5, 4, 6, 7)


def with_hooks(images):
    qmodel = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate, weights=True)
    calibrate(qmodel, images)
    return qmodel, make_tiny_model()


def adopted(images, predicate=None):
    def make():
        torch.manual_seed(0)
        return make_tiny_model()

    with warnings.catch_warnings():
        theirs = made_by_toolkit(make)
    calibrate_by_toolkit(theirs, images)
    qmodel = QuantizedActivationsModel.adopt(theirs, predicate)
    return qmodel, make_tiny_model()


def partly_adopted(images):
    qmodel, plain = adopted(images, conv2d_predicate)
    qmodel.model.classifier.weight_quantizer.num_bits = 5
    return qmodel, plain


KINDS = pytest.mark.parametrize("make", [with_hooks, adopted, partly_adopted], ids=lambda make: make.__name__)


def setting_of(qmodel):
    return (WIDTHS * 2)[: len(qmodel.names)]


def written(tmp_path, qmodel, widths, format, suffix):
    export_setting(tmp_path / f"setting{suffix}", qmodel, widths, format)
    return json.loads((tmp_path / f"setting{suffix}").read_text())


def test_the_config_names_each_quantizer_that_is_on(images, tmp_path):
    qmodel, _ = with_hooks(images)
    content = written(tmp_path, qmodel, WIDTHS, "modelopt", ".modelopt")
    first, *entries = content["config"]["quant_cfg"]
    assert first == {"quantizer_name": "*", "enable": False} and content["config"]["algorithm"] is None
    found = {entry["quantizer_name"]: entry["cfg"] for entry in entries}
    assert {name: each["num_bits"] for name, each in found.items()} == {
        "shortcut.input_quantizer": 8, "conv1.input_quantizer": 8, "shortcut.output_quantizer": 4, "conv2.output_quantizer": 5,
        "shortcut.weight_quantizer": 4, "conv1.weight_quantizer": 6, "conv2.weight_quantizer": 7,
    }  # fmt: skip
    assert found["conv1.input_quantizer"]["unsigned"] and found["conv1.weight_quantizer"]["axis"] == 0
    assert set(content["amax"]) == set(found)
    given = torch.tensor(content["amax"]["conv1.weight_quantizer"])
    assert torch.equal(given, qmodel.weight_fake_quantizers["conv1.weight"].amax_at(6))
    assert (tmp_path / "setting.modelopt.json").exists()


@KINDS
def test_modelopt_counts_the_same(make, images, labels, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mtq = pytest.importorskip("modelopt.torch.quantization")
    qmodel, plain = make(images)
    widths = setting_of(qmodel)
    evaluator = Evaluator(qmodel, images, labels, batch_size=40, hardest_first=False, channels_last=False)
    content = written(tmp_path, qmodel, widths, "modelopt", ".modelopt")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model = mtq.quantize(plain, copy.deepcopy(content["config"])).eval()
        for name, amax in content["amax"].items():
            model.get_submodule(name).amax = torch.tensor(amax)
        qmodel.bit_widths = widths
        outputs = torch.cat([model(batch) for batch in images.split(40)])
        assert torch.equal(outputs, torch.cat([qmodel(batch) for batch in images.split(40)]))
    assert int((outputs.argmax(1) == labels).sum()) == round(evaluator.evaluate(widths).score * 96)


def test_a_quantizer_that_layers_share_is_written_for_each(images, tmp_path):
    qmodel, _ = adopted(images)
    model = qmodel.remove()
    model.shortcut._input_quantizer = model.conv1._input_quantizer
    qmodel = QuantizedActivationsModel.adopt(model)
    setting = [4, *[8] * (len(qmodel.names) - 1)]
    assert qmodel.names[0] == "conv1._input_quantizer" and "shortcut._input_quantizer" not in qmodel.names
    content = written(tmp_path, qmodel, setting, "modelopt", ".modelopt")
    bits = {each["quantizer_name"]: each["cfg"]["num_bits"] for each in content["config"]["quant_cfg"][1:]}
    assert bits["shortcut.input_quantizer"] == bits["conv1.input_quantizer"] == 4
    assert content["amax"]["conv1.input_quantizer"] == content["amax"]["shortcut.input_quantizer"]
    found = written(tmp_path, qmodel, setting, "aimet", ".encodings")["activation_encodings"]
    assert found["conv1.input"] == found["shortcut.input"] and found["conv1.input"][0]["bitwidth"] == 4


@KINDS
def test_encodings_are_laid_out_as_aimet_documents_them_and_say_what_the_quantizers_do(
    make, images, tmp_path
):
    qmodel, _ = make(images)
    content = written(tmp_path, qmodel, setting_of(qmodel), "aimet", ".encodings")
    assert list(content) == ["version", "activation_encodings", "param_encodings", "quantizer_args"]
    assert content["version"] == "0.6.1"
    kinds = {
        "activation_bitwidth": int, "dtype": str, "is_symmetric": str, "param_bitwidth": int, "per_channel_quantization": str, "quant_scheme": str,
    }  # fmt: skip
    assert {key: type(value) for key, value in content["quantizer_args"].items()} == kinds
    fields = {
        "bitwidth": int,
        "dtype": str,
        "is_symmetric": str,
        "max": float,
        "min": float,
        "offset": int,
        "scale": float,
    }
    values = 3 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    shared = 0
    for encodings in (*content["activation_encodings"].values(), *content["param_encodings"].values()):
        for one in encodings:
            if one["dtype"] == "float":
                assert one == {"dtype": "float", "bitwidth": 32}
                continue
            assert {key: type(value) for key, value in one.items()} == fields
            assert 4 <= one["bitwidth"] <= 32 and one["is_symmetric"] in ("True", "False")
            top = one["offset"] + 2 ** one["bitwidth"] - 1
            assert one["max"] == one["scale"] * top and one["min"] == one["scale"] * one["offset"]
            ours = TensorQuantizer(one["bitwidth"], unsigned=one["is_symmetric"] == "False")
            ours.amax = one["max"]
            levels = torch.clamp(torch.round(values.double() / one["scale"]), one["offset"], top)
            assert torch.allclose((levels * one["scale"]).float(), ours(values), atol=one["scale"] * 1.01)
            shared += int(torch.isclose((levels * one["scale"]).float(), ours(values)).sum())
    assert shared > 0.99 * 4000 * 5
    conv = content["param_encodings"]["conv1.weight"]
    assert len(conv) == 4 and len(content["activation_encodings"]) >= 4
    if make is adopted:
        assert "conv1.input" in content["activation_encodings"]
    if make is partly_adopted:
        assert content["param_encodings"]["classifier.weight"][0]["bitwidth"] == 5


def test_what_these_tools_cannot_hold_is_said(images, tmp_path):
    qmodel, _ = with_hooks(images)
    with pytest.raises(DataError, match=r"widths from 4 to 32, and conv1.weight have fewer"):
        export_setting(tmp_path / "a.encodings", qmodel, [4, 4, 4, 4, 8, 3, 8], "aimet")
    with pytest.raises(DataError, match=r"ends in .modelopt"):
        export_setting(tmp_path / "a.json", qmodel, [4] * 7, "modelopt")
    behind = QuantizedActivationsModel(
        make_tiny_model(), lambda module: type(module).__name__ == "ReLU", inputs=()
    )
    calibrate(behind, images)
    with pytest.raises(DataError, match=r"no quantizer at 'relu' \(ReLU\)"):
        export_setting(tmp_path / "a.modelopt", behind, [4], "modelopt")
    scaled = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 5))
    flat = QuantizedActivationsModel(scaled, any_of(linear_predicate))
    calibrate(flat, images)
    with pytest.raises(DataError, match=r"'0' \(Flatten\)"):
        export_setting(tmp_path / "a.modelopt", flat, [4, 4], "modelopt")
    export_setting(tmp_path / "a.modelopt", flat, [None, 4], "modelopt")


def test_what_stays_on_and_cannot_be_written_is_said(images, tmp_path):
    qmodel, _ = partly_adopted(images)
    for format, suffix in (("onnx", ".onnx"), ("qonnx", ".onnx")):
        with pytest.raises(
            DataError, match=r"'classifier._weight_quantizer'\] of pytorch-quantization are switched on"
        ):
            export_setting(tmp_path / f"a{suffix}", qmodel, setting_of(qmodel), format, inputs=images[:4])
    assert not list(tmp_path.iterdir())
    qmodel.model.classifier._input_quantizer = toolkit_nn.TensorQuantizer(
        QuantDescriptor(learn_amax=True, amax=1.0)
    )
    for format, suffix in (("modelopt", ".modelopt"), ("aimet", ".encodings")):
        with pytest.raises(
            DataError,
            match=r"has to hold all quantizers .* 'classifier._input_quantizer' learns its amax .*; disable\(\) it",
        ):
            export_setting(tmp_path / f"a{suffix}", qmodel, setting_of(qmodel), format)


def test_channels_on_any_axis_of_a_weight_are_read_back(images, tmp_path):
    torch.manual_seed(0)
    layer = toolkit_nn.QuantConv2d(1, 3, 3, quant_desc_weight=QuantDescriptor(axis=2))
    model = calibrate_by_toolkit(torch.nn.Sequential(layer, torch.nn.Flatten()).eval(), images)
    layer.weight_quantizer._amax = torch.tensor([1.0, 0.5, 0.25]).reshape(1, 1, 3, 1)
    qmodel = QuantizedActivationsModel.adopt(model)
    export_setting(tmp_path / "setting.json", qmodel, [4, 3])
    assert load_setting(tmp_path / "setting.json").grids["0._weight_quantizer"].axis == 2
    qmodel.bit_widths = [4, 3]
    with torch.no_grad():
        expected = qmodel(images)
        load_setting(tmp_path / "setting.json").apply(qmodel.remove())
        assert torch.equal(model(images), expected)
