"""Which tensors an accelerator stores."""

from collections.abc import Callable

from torch import fx, nn

from qa_lib.checks import check_kind
from qa_lib.errors import LayerError, PredicateError
from qa_lib.graph.operations import Activation, Add, Attention, Concatenate, MatMul, Softmax
from qa_lib.graph.rewriting import KINDS, traced

# What makes a tensor that is stored, unless something follows that is computed on the way.
_MAKERS = (
    nn.modules.Conv1d, nn.modules.Conv2d, nn.modules.Conv3d, nn.modules.ConvTranspose1d, nn.modules.ConvTranspose2d, nn.modules.ConvTranspose3d, nn.modules.Linear, nn.Bilinear,
    Add, Concatenate, MatMul, Softmax, Attention,
)  # fmt: skip
# What is computed on the way: each number by itself.
_ON_THE_WAY = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Identity, nn.Dropout, nn.Dropout2d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU,
    nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, Activation,
)  # fmt: skip


def stored_outputs(model: nn.Module) -> Callable[[nn.Module], bool]:
    """A predicate for this ``model`` that chooses what an accelerator stores: of each chain convolution - norm - activation the last
    module, and not the first, whose numbers nobody writes down. Sums are chosen, too, where a module follows them or they are one
    (``with_modules``).

    Args:
        model: Any that ``torch.fx`` can trace.

    Raises:
        LayerError: ``torch.fx`` cannot trace the model.

    Example:
        >>> network = with_modules(load_workload("fashion_mnist").model)
        >>> len(QuantizedActivationsModel(network, stored_outputs(network)).names)
        23
    """
    check_kind("model", model, nn.Module, PredicateError, "a torch.nn.Module")
    twin, graph = traced(model)
    named = dict(model.named_modules())
    names = {_end_of_chain(node, twin) for node in graph.nodes if _makes(node, twin)} - {None}
    chosen = {named[name] for name in names if name in named}
    if not chosen:
        raise LayerError(f"{type(model).__name__} has no module that makes what an accelerator stores")
    return lambda module: module in chosen


def _makes(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), _MAKERS)
    return node.op == "call_function" and node.target in KINDS["add"].functions


def _end_of_chain(node: fx.Node, model: nn.Module) -> str | None:
    """The module that has the last word on what ``node`` makes; None if there is none."""
    last = str(node.target) if node.op == "call_module" else None
    while len(node.users) == 1:
        (node,) = node.users
        if node.op != "call_module" or not isinstance(model.get_submodule(str(node.target)), _ON_THE_WAY):
            break
        last = str(node.target)
    return last
