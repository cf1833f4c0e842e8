"""Models that other tools have quantized are recognised: never a second quantizer on top."""

import pytest
import torch
from torch import nn

from qa_lib import QuantizedActivationsModel, conv2d_predicate
from qa_lib.errors import AlreadyQuantizedError

pytestmark = [pytest.mark.filterwarnings("ignore")]  # of torch.ao, which is deprecated


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 4 // 4 * 4, 5)).eval()


IMAGES = torch.rand(2, 1, 6, 6)


def prepared_fx():
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_fx

    return prepare_fx(make(), get_default_qconfig_mapping("fbgemm"), (IMAGES,))


def converted_fx():
    from torch.ao.quantization.quantize_fx import convert_fx

    prepared = prepared_fx()
    prepared(IMAGES)
    return convert_fx(prepared)


def prepared_eager():
    from torch.ao.quantization import QuantWrapper, get_default_qat_qconfig, prepare_qat

    model = QuantWrapper(make()).train()
    model.qconfig = get_default_qat_qconfig("fbgemm")
    return prepare_qat(model)


def dynamic():
    return nn.Sequential(nn.Conv2d(1, 1, 1), torch.ao.nn.quantized.dynamic.Linear(4, 4))


def converted_pt2e():
    """What the reference representation of a converted graph holds."""
    from torch.ao.quantization.fx._decomposed import quantized_decomposed_lib  # noqa: F401 defines the steps

    graph = torch.fx.Graph()
    images = graph.placeholder("images")
    steps = torch.ops.quantized_decomposed
    levels = graph.call_function(steps.quantize_per_tensor.default, (images, 0.1, 0, -128, 127, torch.int8))
    graph.output(
        graph.call_function(steps.dequantize_per_tensor.default, (levels, 0.1, 0, -128, 127, torch.int8))
    )
    return nn.Sequential(torch.fx.GraphModule(nn.Module(), graph), nn.Conv2d(1, 1, 1))


def stand_in(place, name, base=nn.Module):
    """An object of a class as another package has it."""
    return lambda: nn.Sequential(nn.Conv2d(1, 1, 1), type(name, (base,), {"__module__": place})())


class _Weight(torch.Tensor):
    pass


def with_weight_of(place):
    def make_one():
        layer = nn.Conv2d(1, 1, 1)
        kind = type("AffineQuantizedTensor", (_Weight,), {"__module__": place})
        layer.weight = nn.Parameter(torch.ones(1, 1, 1, 1).as_subclass(kind), requires_grad=False)
        return nn.Sequential(layer)

    return make_one


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (prepared_fx, "torch.ao .*give the model before it was prepared"),
        (converted_fx, "torch.quantize_per_tensor. is a step of a graph .* converted: give the float model"),
        (prepared_eager, "torch.ao.* give"),
        (dynamic, "'1' .Linear. is a quantized module of torch .nn.quantized.*give the float model"),
        (converted_pt2e, "'0' .*quantize_per_tensor.* is a step of a graph that torch.ao or torchao has converted"),
        (stand_in("torchao.quantization.pt2e.observer", "MinMaxObserver"), "torchao .*give the float model"),
        (with_weight_of("torchao.dtypes.affine_quantized_tensor"), "'0' .AffineQuantizedTensor. is quantized by torchao"),
        (stand_in("brevitas.nn.quant_conv", "QuantConv2d"), "a layer of Brevitas.*torch.nn's own layers"),
        (stand_in("aimet_torch.v2.nn.true_quant", "QuantizedConv2d"), "AIMET .*before it was wrapped"),
        (stand_in("modelopt.torch.quantization.nn.modules.tensor_quantizer", "TensorQuantizer"), "ModelOpt .*before mtq.quantize"),
        (stand_in("bitsandbytes.nn.modules", "Linear8bitLt"), "bitsandbytes.*without a quantization_config"),
        (with_weight_of("bitsandbytes.nn.modules"), "bitsandbytes"),
    ],
    ids=["prepare_fx", "convert_fx", "prepare_qat", "dynamic", "convert_pt2e", "pt2e of torchao", "torchao", "brevitas", "aimet", "modelopt", "bitsandbytes", "4 bits"],
)  # fmt: skip
def test_each_is_said_to_be_what_it_is(made, said):
    model = made()
    for make_one in (
        lambda: QuantizedActivationsModel(model, conv2d_predicate),
        lambda: QuantizedActivationsModel.adopt(model),
    ):
        with pytest.raises(AlreadyQuantizedError, match=said):
            make_one()
    assert not any(module._forward_hooks and type(module) is nn.Conv2d for module in model.modules())


def test_float_models_that_are_made_to_be_quantized_later_are_taken():
    import torchvision

    model = torchvision.models.quantization.mobilenet_v2(num_classes=3, width_mult=0.25).eval()
    assert len(QuantizedActivationsModel(model, conv2d_predicate).names) > 20
