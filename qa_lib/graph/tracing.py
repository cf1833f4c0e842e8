"""Tracing a model with torch.fx while other threads run models."""

import threading
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from qa_lib.graph.operations import Whole

# While torch.fx traces, it takes the place of what all modules of the process do when they are called. Two that do so at
# once would not find back.
_TRACING = threading.RLock()


class Tracer(fx.Tracer):
    """A ``torch.fx`` tracer that leaves alone what other threads do meanwhile."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Leaves whole what was made a module before, and a fake quantizer of the toolkit, whose forward depends on what it is given."""
        whole = isinstance(m, Whole) or "TensorQuantizer" in (kind.__name__ for kind in type(m).__mro__)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def trace(
        self, root: nn.Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None
    ) -> fx.Graph:
        """The graph of ``root``; other threads that trace wait."""
        with _TRACING:
            self._thread = threading.get_ident()
            return super().trace(root, concrete_args)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What a call of ``m`` becomes: a node of the graph, or simply the call if it is another thread's."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return self.call_traced_module(m, forward, args, kwargs)

    def call_traced_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """What a call of ``m`` in the traced thread becomes."""
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """What an attribute of a module becomes."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)
