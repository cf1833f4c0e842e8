"""A model with the toolkit's own quantizers, hooked up by hand: what everything is compared with."""

from collections.abc import Sequence

from torch import Tensor, nn

from qa_lib import QuantizedActivationsModel
from qa_lib.tensor_quantizer import QuantDescriptor, toolkit_nn


class ToolkitModel(nn.Module):
    """``model`` with a toolkit quantizer on its input and behind each named module."""

    def __init__(self, model: nn.Module, amax: dict[str, float]) -> None:
        super().__init__()
        self.network = model
        self.quantizers = {
            name: toolkit_nn.TensorQuantizer(QuantDescriptor(num_bits=8, amax=value))
            for name, value in amax.items()
        }
        for name, module in model.named_modules():
            if name in self.quantizers:
                module.register_forward_hook(lambda m, i, output, q=self.quantizers[name]: q(output))

    def set_bit_widths(self, bit_widths: Sequence[int | None]) -> None:
        for quantizer, num_bits in zip(self.quantizers.values(), bit_widths, strict=True):
            if num_bits is None:
                quantizer.disable()
            else:
                quantizer.num_bits = num_bits
                quantizer.enable()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.quantizers["input"](images))


def with_toolkit_quantizers(model: nn.Module, qmodel: QuantizedActivationsModel) -> ToolkitModel:
    """``model`` with toolkit quantizers where ``qmodel`` has its own, and the same ``amax``."""
    amax = {name: float(q.amax) for name, q in qmodel.activation_fake_quantizers.items()}
    return ToolkitModel(model.eval(), amax)
