"""A model with the toolkit's own quantizers, hooked up by hand: what everything is compared with."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from qa_lib import QuantizedActivationsModel
from qa_lib.bit_widths import WIDTHS
from qa_lib.quantization.tensor_quantizer import TensorQuantizer
from qa_lib.quantization.toolkit import QuantDescriptor, toolkit_nn


class ToolkitModel(nn.Module):
    """``model`` with a toolkit quantizer on its input and behind each named module."""

    def __init__(self, model: nn.Module, ours: Mapping[str, TensorQuantizer]) -> None:
        super().__init__()
        self.network = model
        self.amax = {
            name: {b: float(quantizer.amax_at(b)) for b in WIDTHS} for name, quantizer in ours.items()
        }
        self.quantizers = {
            name: toolkit_nn.TensorQuantizer(
                QuantDescriptor(num_bits=8, amax=self.amax[name][8], unsigned=quantizer.unsigned)
            )
            for name, quantizer in ours.items()
        }
        for name, module in model.named_modules():
            if name in self.quantizers:
                module.register_forward_hook(lambda m, i, output, q=self.quantizers[name]: q(output))

    def set_bit_widths(self, bit_widths: Sequence[int | None]) -> None:
        for (name, quantizer), num_bits in zip(self.quantizers.items(), bit_widths, strict=True):
            if num_bits is None:
                quantizer.disable()
            else:
                quantizer.num_bits = num_bits
                quantizer._amax.fill_(self.amax[name][num_bits])
                quantizer.enable()

    def forward(self, images: Tensor) -> Tensor:
        quantized = self.quantizers["input"](images)
        if quantized.stride() != images.stride():
            # The toolkit forgets the layout of images with one channel, and in another layout a convolution may add up in
            # another order: on some processors that is another level.
            quantized = torch.empty_like(images).copy_(quantized)
        return self.network(quantized)


def with_toolkit_quantizers(model: nn.Module, qmodel: QuantizedActivationsModel) -> ToolkitModel:
    """``model`` with toolkit quantizers where ``qmodel`` has its own, and the same ``amax`` for each width."""
    return ToolkitModel(model.eval(), qmodel.activation_fake_quantizers)
