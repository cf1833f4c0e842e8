"""Networks as users of NVIDIA's toolkit have them: its own layers, calibrated by its own calibrators."""

from importlib import import_module

import torch
import torchvision

from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn

quant_modules = import_module("pytorch_quantization.quant_modules")
NETWORKS = ("resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5")
LAYERS = (toolkit_nn.QuantConv2d, toolkit_nn.QuantLinear)


def quantizers_of(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, toolkit_nn.TensorQuantizer)}


def calibrate_by_toolkit(model, images):
    """As the toolkit's documentation has it."""
    for quantizer in quantizers_of(model).values():
        quantizer.disable_quant()
        quantizer.enable_calib()
    with torch.no_grad():
        model(images)
    for quantizer in quantizers_of(model).values():
        quantizer.load_calib_amax()
        quantizer.disable_calib()
        quantizer.enable_quant()
    return model


def made_by_toolkit(make, *, per_channel=True):
    """What ``make`` returns while the toolkit's layers stand for those of torch."""
    before = [layer.default_quant_desc_weight for layer in LAYERS]
    try:
        for layer in LAYERS:
            layer.set_default_quant_desc_weight(QuantDescriptor(axis=0 if per_channel else None))
        quant_modules.initialize()
        return make()
    finally:
        quant_modules.deactivate()
        for layer, description in zip(LAYERS, before, strict=True):
            layer.set_default_quant_desc_weight(description)


def toolkit_network(name, images, *, per_channel=True):
    torch.manual_seed(0)
    model = made_by_toolkit(
        lambda: getattr(torchvision.models, name)(num_classes=10), per_channel=per_channel
    )
    for quantizer in quantizers_of(model).values():
        quantizer.disable()
    with torch.no_grad():
        model.train()(images)  # norms that have seen something
    for quantizer in quantizers_of(model).values():
        quantizer.enable()
    return calibrate_by_toolkit(model.eval(), images)


def by_hand(model, widths):
    """Sets ``num_bits`` on the toolkit's own modules, by name."""
    for name, quantizer in quantizers_of(model).items():
        quantizer.num_bits = widths[name]
