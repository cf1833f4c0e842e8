"""In which order a forward pass reaches the modules of a model."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from qa_lib.graph.tracing import Tracer


def traced_call_order(model: nn.Module, modules: Mapping[str, nn.Module]) -> list[str]:
    """The names of ``modules`` in the order in which a symbolic forward pass finishes them.

    No image is needed, so the order is known before the first forward pass. Modules that the
    trace does not reach follow in the order of ``modules``; a model that cannot be copied, or that ``torch.fx``
    cannot trace (one whose control flow depends on its data), keeps that order altogether.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    try:
        # A copy, because a forward that keeps what it makes for later would keep what stands for it in the trace.
        twin = copy.deepcopy(model, shared)
        name_of = {twin.get_submodule(name): name for name in modules}
    except Exception:  # a user's module may raise anything when it is copied
        return list(modules)
    order: dict[str, None] = {}

    class CallTracer(Tracer):
        def call_traced_module(
            self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Any:
            result = super().call_traced_module(m, forward, args, kwargs)
            if m in name_of:
                order.setdefault(name_of[m])
            return result

    try:
        CallTracer().trace(twin)
    except Exception:  # a user's forward may raise anything when it meets a proxy
        return list(modules)
    return list(order | dict.fromkeys(modules))


@dataclass(frozen=True)
class Calls:
    """What one forward pass showed of one module.

    Attributes:
        output_shape: Shape of what it returns for one image; of each call's, where they differ.
        elements_per_image: Numbers that it returns for one image, over all its calls.
        count: How often the pass called it.
    """

    output_shape: tuple[int, ...] | tuple[tuple[int, ...], ...]
    elements_per_image: int
    count: int


def summarize_calls(output_shapes: list[tuple[int, ...]], images: int) -> Calls:
    """The calls of one module in a pass over ``images`` images."""
    shapes = [shape[1:] if shape[:1] == (images,) else shape for shape in output_shapes]
    return Calls(
        output_shape=shapes[0] if len(set(shapes)) == 1 else tuple(shapes),
        elements_per_image=sum(math.prod(shape) for shape in output_shapes) // images,
        count=len(shapes),
    )


@contextmanager
def recording_output_shapes(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """Collects the shape of every output of ``modules`` inside the ``with`` block, by name, in the
    order in which the modules first finish."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            shapes.setdefault(name, []).append(tuple(output.shape))

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in modules.items()]
    try:
        yield shapes
    finally:
        for handle in handles:
            handle.remove()
