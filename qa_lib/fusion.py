"""Quantizer, batch norm and ReLU behind a convolution in one pass over the memory, bit for bit the same."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor, fx, nn

from qa_lib.errors import LayerError
from qa_lib.fake_quantize import SMALLEST_AMAX
from qa_lib.fingerprint import structure_digest
from qa_lib.layer_graph import trace
from qa_lib.quantize_output import QuantizeOutput, owns_its_output
from qa_lib.quantized_model import QuantizedActivationsModel
from qa_lib.replicas import make_replicas
from qa_lib.tensor_quantizer import TensorQuantizer

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_RELUS = {nn.ReLU: np.inf, nn.ReLU6: 6.0}
_TILE = 1024  # numbers for which the inner loop runs, a multiple of the channels


@dataclass(frozen=True)
class Chain:
    """A convolution with a quantizer, the batch norm that alone takes its output, and a ReLU after that.

    Attributes:
        conv: Name of the convolution in the model.
        norm: Name of the batch norm.
        relu: Name of the ReLU, or None.
    """

    conv: str
    norm: str
    relu: str | None


@dataclass(frozen=True)
class Fusion:
    """What a replica does in fewer passes over the memory.

    Attributes:
        chains: In one pass.
        sums: Names of the ReLUs that may overwrite a sum, because they alone take it.
    """

    chains: tuple[Chain, ...] = ()
    sums: tuple[str, ...] = ()


def find_fusion(qmodel: QuantizedActivationsModel, images: Tensor) -> Fusion:
    """What of ``qmodel`` can be fused; nothing if it cannot be traced or copied.

    Each chain is tried on numbers of its own, and everything together on ``images``: what does not give the
    bits that the modules give (on another processor, say) is left out.

    Args:
        qmodel: The model; it stays as it is.
        images: One or a few images, shape ``(N, ...)``.
    """
    (replica,) = make_replicas(qmodel, 1)
    if replica is qmodel or qmodel.device.type != "cpu":
        return Fusion()
    try:
        graph = trace(replica.eval())
    except LayerError:
        return Fusion()
    modules, chosen = dict(replica.sequential.named_modules()), set(replica._chosen.values())
    called = [modules[node.target] for node in graph.nodes if node.op == "call_module"]

    def taker(node: fx.Node, kinds: Sequence[type]) -> fx.Node | None:
        """The one node that takes the value of ``node``, if it is a call of such a module, its only one."""
        user = next(iter(node.users))
        if len(node.users) > 1 or user.op != "call_module":
            return None
        module = modules[user.target]
        watched = (
            module in chosen
            or module._forward_hooks
            or module._forward_pre_hooks
            or ("forward" in vars(module))
        )
        return user if type(module) in kinds and called.count(module) == 1 and not watched else None

    chains, sums = [], []
    for node in graph.nodes:
        if _is_sum(node) and (relu := taker(node, list(_RELUS))):
            sums.append(relu.target.removeprefix("1."))
        quantizer = getattr(node.target, "__self__", None) if node.op == "call_function" else None
        if quantizer not in replica.activation_fake_quantizers.values():
            continue
        conv, norm = node.args[0], taker(node, [nn.BatchNorm2d])
        suits = type(modules[conv.target]) in _CONVOLUTIONS and called.count(modules[conv.target]) == 1
        if norm is not None and suits and modules[norm.target].running_var is not None:
            relu = taker(norm, list(_RELUS))
            chain = Chain(*(n and n.target.removeprefix("1.") for n in (conv, norm, relu)))
            if _same_bits(
                FusedOutput(quantizer, modules[norm.target], modules[relu.target] if relu else None)
            ):
                chains.append(chain)
    fusion = Fusion(tuple(chains), tuple(sums))
    return fusion if _same_outputs(qmodel, fusion, images) else Fusion()


def _is_sum(node: fx.Node) -> bool:
    """Whether ``node`` makes a new tensor by addition."""
    makes = (node.op == "call_method" and node.target == "add") or node.target in (operator.add, torch.add)
    return makes and "out" not in node.kwargs


def fuse(replica: QuantizedActivationsModel, fusion: Fusion) -> None:
    """Makes ``replica`` itself do what ``fusion`` says: for evaluating only."""
    for name in fusion.sums:
        replica.model.get_submodule(name).inplace = True
    for chain in fusion.chains:
        conv = replica.model.get_submodule(chain.conv)
        norm = replica.model.get_submodule(chain.norm)
        relu = replica.model.get_submodule(chain.relu) if chain.relu else None
        for key, hook in conv._forward_hooks.items():
            single = norm.running_var.dtype == torch.float32
            if single and isinstance(hook, QuantizeOutput) and owns_its_output(conv):
                conv._forward_hooks[key] = FusedOutput(hook.quantizer, norm, relu)
                for name in filter(None, (chain.norm, chain.relu)):
                    parent, _, child = name.rpartition(".")
                    setattr(replica.model.get_submodule(parent), child, nn.Identity())


class Fusing:
    """Makes fused replicas, and looks for what to fuse only when the model's structure has changed."""

    def __init__(self) -> None:
        self._structure = ""
        self._fusion = Fusion()

    def make_replicas(
        self, qmodel: QuantizedActivationsModel, count: int, images: Tensor
    ) -> list[QuantizedActivationsModel]:
        """``count`` copies of ``qmodel`` for evaluating on images like ``images``."""
        replicas = make_replicas(qmodel, count)
        if replicas[0] is not qmodel and images.is_contiguous(memory_format=torch.channels_last):
            structure = structure_digest(qmodel)
            if structure != self._structure:
                self._structure, self._fusion = structure, find_fusion(qmodel, images)
            for replica in replicas:
                fuse(replica, self._fusion)
        return replicas


class FusedOutput:
    """A forward hook on a convolution: its quantizer, and then the batch norm and ReLU that follow.

    Args:
        quantizer: The quantizer of the convolution's output.
        norm: The batch norm, as it is in ``eval()`` mode.
        relu: The ReLU, or None.
    """

    def __init__(self, quantizer: TensorQuantizer, norm: nn.BatchNorm2d, relu: nn.Module | None) -> None:
        self.quantizer, self.norm, self.relu = quantizer, norm.eval(), relu
        self.lower = np.float32(0 if relu is not None else -np.inf)
        self.upper = np.float32(_RELUS[type(relu)] if relu is not None else np.inf)
        # As aten/src/ATen/native/cpu/batch_norm_kernel.cpp computes them, in float32.
        deviation = np.sqrt(norm.running_var.numpy() + np.float32(norm.eps))
        weight = np.float32(1) if norm.weight is None else norm.weight.detach().numpy()
        tiles = max(1, _TILE // norm.num_features)
        self.factor = np.tile(np.float32(1) / deviation * weight, tiles)
        with torch.inference_mode():
            zeros = torch.zeros(1, norm.num_features, 1, 1)
            self.offset = np.tile(self.norm(zeros).flatten().numpy(), tiles)

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if self._has_plain_task(output):
            num_bits = self.quantizer.num_bits
            amax = 1.0 if num_bits is None else self.quantizer._amax.item()
            if amax > SMALLEST_AMAX:
                self._one_pass(output, num_bits, amax)
                return output
        quantized = self.norm(self.quantizer(output))
        return quantized if self.relu is None else self.relu(quantized)

    def _has_plain_task(self, output: Tensor) -> bool:
        return (
            output.dim() == 4
            and output.is_contiguous(memory_format=torch.channels_last)
            and not torch.is_grad_enabled()
            and (self.quantizer.num_bits is None or self.quantizer.has_plain_task(output))
            and output.dtype == torch.float32
        )

    def _one_pass(self, output: Tensor, num_bits: int | None, amax: float) -> None:
        largest = np.float32(2.0 ** ((num_bits or 2) - 1) - 1.0)
        smallest = -largest if self.quantizer._narrow_range else -largest - np.float32(1)
        _quantize_norm_relu(
            output.detach().as_strided((output.numel(),), (1,)).numpy(),
            *(num_bits is not None, largest / np.float32(amax), smallest, largest),
            *(self.factor, self.offset, self.lower, self.upper),
        )


def _same_bits(fused: FusedOutput) -> bool:
    """Whether the pass gives the bits that the modules give, tried on numbers that reach every level."""
    norm, generator = fused.norm, torch.Generator().manual_seed(0)
    shape = (3, norm.num_features, 7, 5)
    values = torch.randn(shape, generator=generator) * norm.running_var.sqrt()[:, None, None] * 2
    values = (values + norm.running_mean[:, None, None]).contiguous(memory_format=torch.channels_last)
    values[0, :, 0] = 0.0
    amax = float(values.abs().max())
    quantizer = TensorQuantizer()
    quantizer.amax = amax
    for num_bits in (None, 2, 4, 8, 16):
        quantizer.num_bits = num_bits
        with torch.inference_mode():
            expected = norm(quantizer(values))
            expected = expected if fused.relu is None else fused.relu(expected)
            got = values.clone()
            fused._one_pass(got, num_bits, amax)
            if not torch.equal(got.contiguous().view(torch.int32), expected.contiguous().view(torch.int32)):
                return False
    return True


def _same_outputs(qmodel: QuantizedActivationsModel, fusion: Fusion, images: Tensor) -> bool:
    """Whether the float model gives the same bits with ``fusion``."""
    plain, fused = make_replicas(qmodel, 2)
    fuse(fused, fusion)
    outputs = []
    try:
        for replica in (plain, fused):
            replica.bit_widths = [None] * len(replica.names)
            with torch.inference_mode():
                outputs.append(replica.eval()(images))
    except AttributeError:  # the model's forward looks into a module that is not there any more
        return False
    return torch.equal(*outputs)


@intrinsic
def _fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` with one rounding, as the batch norm's own vector instruction computes it."""
    signature = types.float32(types.float32, types.float32, types.float32)
    return signature, lambda context, builder, signature, arguments: builder.fma(*arguments)


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _quantize_norm_relu(
    values: np.ndarray,
    quantizes: bool,
    scale: np.float32,
    smallest: np.float32,
    largest: np.float32,
    factor: np.ndarray,
    offset: np.ndarray,
    lower: np.float32,
    upper: np.float32,
) -> None:
    # One loop for each case: with the case inside it, the compiler does not make vectors of it.
    for start in range(0, values.size, factor.size):
        tile = values[start : start + factor.size]
        if quantizes:
            for index in range(tile.size):
                level = np.rint(tile[index] * scale)
                level = smallest if level < smallest else level
                level = largest if level > largest else level
                value = _fma(level / scale, factor[index], offset[index])
                value = lower if value < lower else value
                tile[index] = upper if value > upper else value
        else:
            for index in range(tile.size):
                value = _fma(tile[index], factor[index], offset[index])
                value = lower if value < lower else value
                tile[index] = upper if value > upper else value
