"""Norms folded into the layers before them: what hardware runs."""

import copy

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from qa_lib.checks import check_kind
from qa_lib.errors import LayerError, PredicateError
from qa_lib.graph.rewriting import traced

_CONVOLUTIONS = (nn.modules.Conv1d, nn.modules.Conv2d, nn.modules.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in which each batch norm that follows a convolution or linear layer is folded into its weights, and an
    ``Identity`` stands in its place: what hardware runs. The outputs are equal up to rounding; for inference only.

    Args:
        model: Any that ``torch.fx`` can trace; it stays as it is.

    Raises:
        LayerError: ``torch.fx`` cannot trace the model, or there is nothing to fold.

    Example:
        >>> folded = fold_batch_norm(load_workload("fashion_mnist").model)
        >>> folded.blocks[0].bn1
        Identity()
    """
    check_kind("model", model, nn.Module, PredicateError, "a torch.nn.Module")
    folded = copy.deepcopy(model).eval()
    modules, pairs = dict(folded.named_modules()), _pairs(traced(model)[1], folded)
    if not pairs:
        raise LayerError(
            "there is no batch norm behind a convolution or linear layer of its own: there is nothing to fold"
        )
    for layer, norm in pairs:
        before, after = modules[layer], modules[norm]
        fuse = fuse_linear_bn_eval if isinstance(before, nn.modules.Linear) else fuse_conv_bn_eval
        for name, module in ((layer, fuse(before, after)), (norm, nn.Identity())):
            parent, _, own = name.rpartition(".")
            setattr(folded.get_submodule(parent), own, module)
    return folded


def _pairs(graph: fx.Graph, model: nn.Module) -> list[tuple[str, str]]:
    """Layers and the norms that see nothing but their output, each called once."""
    calls = [node for node in graph.nodes if node.op == "call_module"]
    once = {node.target for node in calls if sum(other.target == node.target for other in calls) == 1}
    found = []
    for norm in calls:
        layer = norm.args[0] if norm.args else None
        if not isinstance(layer, fx.Node) or layer.op != "call_module" or len(layer.users) != 1:
            continue
        after, before = model.get_submodule(str(norm.target)), model.get_submodule(str(layer.target))
        foldable = isinstance(after, _NORMS) and after.running_mean is not None and after.track_running_stats
        if (
            foldable
            and isinstance(before, (*_CONVOLUTIONS, nn.modules.Linear))
            and {norm.target, layer.target} <= once
        ):
            found.append((str(layer.target), str(norm.target)))
    return found
