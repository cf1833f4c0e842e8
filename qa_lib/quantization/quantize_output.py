"""The forward hook that sends a module's output through a fake quantizer."""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from qa_lib.errors import LayerError
from qa_lib.quantization.tensor_quantizer import TensorQuantizer

# Modules whose forward makes a new tensor and keeps no other hold of it. Exact types only: a subclass
# may hand back its input or something that it keeps.
_MAKERS = {
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm),
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU),
}


class QuantizeOutput:
    """A forward hook that sends a module's output through a fake quantizer.

    Overwrites the output where nobody else can see it, otherwise leaves it alone and returns a new
    tensor. An object and not a closure, so that a deep copy of the model hooks the copy's quantizer.

    Args:
        name: What the quantizer is called.
        quantizer: Quantizes the output.
    """

    def __init__(self, name: str, quantizer: TensorQuantizer) -> None:
        self.name = name
        self.quantizer = quantizer

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or not output.is_floating_point():
            given = f"a {output.dtype} tensor" if isinstance(output, Tensor) else type(output).__name__
            raise LayerError(
                f"'{self.name}' ({type(module).__name__}) returns {given}; only one floating-point "
                "tensor can be quantized: leave this module out of the predicate"
            )
        if owns_its_output(module):
            return self.quantizer.quantize_in_place(output)
        return self.quantizer(output)


def owns_its_output(module: nn.Module) -> bool:
    """Whether only the caller can hold what ``module``, whose one hook this is, has just returned."""
    return (
        type(module) in _MAKERS
        and not getattr(module, "inplace", False)
        and "forward" not in module.__dict__
        # Somebody else's hook may have kept it.
        and len(module._forward_hooks) == 1
        and not torch_module._global_forward_hooks
    )
