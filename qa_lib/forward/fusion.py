"""What of a model a replica can do in fewer passes over the memory, bit for bit the same."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

from qa_lib.errors import LayerError
from qa_lib.forward.comparing import same
from qa_lib.forward.fused_output import RELUS, FusedOutput, same_bits
from qa_lib.forward.layer_graph import LayerGraph, trace
from qa_lib.forward.replicas import make_replicas
from qa_lib.quantization.digests import structure_digest
from qa_lib.quantization.quantize_output import QuantizeOutput, owns_its_output
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

_CONVOLUTIONS = (nn.modules.Conv2d, nn.modules.ConvTranspose2d)


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
    modules, chosen = dict(replica.sequential.named_modules()), set(replica.chosen_modules.values())
    called = [modules[node.target] for node in graph.nodes if node.op == "call_module"]

    def taker(node: fx.Node, kinds: Sequence[type]) -> fx.Node | None:
        """The one node that takes the value of ``node``, if it is a call of such a module, its only one."""
        users = list(node.users)
        if len(users) != 1 or users[0].op != "call_module":
            return None
        module = modules[users[0].target]
        watched = (
            module in chosen
            or module._forward_hooks
            or module._forward_pre_hooks
            or ("forward" in vars(module))
        )
        return users[0] if type(module) in kinds and called.count(module) == 1 and not watched else None

    chains, sums = [], []
    for node in graph.nodes:
        if _is_sum(node) and (relu := taker(node, list(RELUS))):
            sums.append(_name(relu))
        hook = getattr(node.target, "__self__", None) if node.op == "call_function" else None
        if not isinstance(hook, QuantizeOutput):
            continue
        conv, norm = node.args[0], taker(node, [nn.BatchNorm2d])
        suits = type(modules[conv.target]) in _CONVOLUTIONS and called.count(modules[conv.target]) == 1
        if norm is not None and suits and _is_single(modules[norm.target]):
            relu = taker(norm, list(RELUS))
            chain = Chain(_name(conv), _name(norm), _name(relu) if relu else None)
            if same_bits(
                FusedOutput(hook.quantizer, modules[norm.target], modules[relu.target] if relu else None)
            ):
                chains.append(chain)
    fusion = Fusion(tuple(chains), tuple(sums))
    return fusion if _same_outputs(qmodel, fusion, images) else Fusion()


def _name(node: fx.Node) -> str:
    """What the module that ``node`` calls is called in the model."""
    return str(node.target).removeprefix("1.")


def _is_sum(node: fx.Node) -> bool:
    """Whether ``node`` makes a new tensor by addition."""
    makes = (node.op == "call_method" and node.target == "add") or node.target in (operator.add, torch.add)
    return makes and "out" not in node.kwargs


def _is_single(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether ``norm`` is a batch norm with statistics of its own, in single precision."""
    variance = norm.running_var if isinstance(norm, nn.BatchNorm2d) else None
    return variance is not None and variance.dtype == torch.float32


def fuse_graph(graph: LayerGraph, qmodel: QuantizedActivationsModel, images: Any) -> None:
    """Makes ``graph``, of ``qmodel``, run the chains of convolutions in one pass, for images laid out like these; sums it leaves as they are."""
    if not is_laid_out(images):
        return
    replica = graph.replica
    chains = {}
    for chain in find_fusion(qmodel, images[:2]).chains:
        conv, norm = replica.model.get_submodule(chain.conv), replica.model.get_submodule(chain.norm)
        relu = replica.model.get_submodule(chain.relu) if chain.relu else None
        if _is_single(norm) and owns_its_output(conv, hooks=0):  # a trace has taken it off
            chains[chain.conv] = FusedOutput(replica.activation_fake_quantizers[chain.conv], norm, relu)
    graph.fuse(chains, qmodel, images)


def is_laid_out(images: Any) -> bool:
    """Whether ``images`` lie in memory as the pass takes them."""
    return (
        isinstance(images, Tensor)
        and images.dim() == 4
        and images.is_contiguous(memory_format=torch.channels_last)
    )


def fuse(replica: QuantizedActivationsModel, fusion: Fusion) -> None:
    """Makes ``replica`` itself do what ``fusion`` says: for evaluating only."""
    for name in fusion.sums:
        module = replica.model.get_submodule(name)
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.inplace = True
    for chain in fusion.chains:
        conv = replica.model.get_submodule(chain.conv)
        norm = replica.model.get_submodule(chain.norm)
        relu = replica.model.get_submodule(chain.relu) if chain.relu else None
        for key, hook in conv._forward_hooks.items():
            if _is_single(norm) and isinstance(hook, QuantizeOutput) and owns_its_output(conv):
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
        self, qmodel: QuantizedActivationsModel, count: int, images: Any, behaviour: str = ""
    ) -> list[QuantizedActivationsModel]:
        """``count`` copies of ``qmodel`` for evaluating on images like ``images``; ``behaviour`` is what it returns, as a digest."""
        replicas = make_replicas(qmodel, count)
        if replicas[0] is not qmodel and is_laid_out(images) and not qmodel.has_own_forward:
            structure = structure_digest(qmodel) + behaviour
            if structure != self._structure:
                self._structure, self._fusion = structure, find_fusion(qmodel, images)
            for replica in replicas:
                fuse(replica, self._fusion)
        return replicas


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
    return same(*outputs)
