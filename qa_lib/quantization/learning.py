"""What a forward pass shows of a model: its inputs, which chosen modules it reaches and how often, and who feeds whom."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from torch import Tensor, nn

from qa_lib.batches.forward import call, evaluation_mode
from qa_lib.batches.structure import count_items, take, tensors
from qa_lib.costs import Dataflow
from qa_lib.errors import DataError, LayerError
from qa_lib.graph.call_order import Calls, recording_output_shapes, summarize_calls
from qa_lib.graph.dataflow import watch_dataflow
from qa_lib.quantization.adopting import switched_on
from qa_lib.quantization.inputs import ArgumentsSeen
from qa_lib.quantization.named_quantizers import NamedQuantizers
from qa_lib.quantization.quantize_weight import layer_of
from qa_lib.quantization.sites import hint_for_missed


class LearnedQuantizers(NamedQuantizers):
    """The part of a ``QuantizedActivationsModel`` that learns from a calibration's passes."""

    _run: Callable[[Any, Any], Any] | None
    # The thread that is learning; 0 for none.
    _learning: int

    @property
    def model(self) -> nn.Module:
        """The user's own model, hooks included."""
        return self.sequential[1]

    def run(self, inputs: Any, model: nn.Module | None = None) -> Any:
        """What this model, or ``model`` in its place, returns for the inputs of a batch, run as ``forward=`` says."""
        which = self if model is None else model
        return call(which, inputs) if self._run is None else self._run(which, inputs)

    def _returned(self, inputs: Any) -> list[Tensor]:
        return list(tensors(self.run(inputs)))

    def learn_inputs(self, inputs: Any) -> None:
        """Gives each floating-point input its quantizer, and no other argument one: which these are, ``inputs`` of a batch show.

        Raises:
            DataError: A chosen input is not among them, or ``forward=`` does not call the model that it is given.
        """
        with self.lock:
            self._learning = threading.get_ident()
            try:
                with self.temporary_bit_widths([None] * len(self.names)):  # for whatever else is called
                    self.run(inputs)
            except ArgumentsSeen as seen:
                sites = self._inputs.learn(seen.arguments)
            else:
                raise DataError(
                    "forward= does not call the model that it is handed, and would run another one: forward=lambda model, inputs: "
                    "model(...)"
                )
            finally:
                self._learning = 0
            self._set_inputs(sites)

    @contextmanager
    def recording(self, images: int) -> Iterator[None]:
        """Learns from the forward pass in the ``with`` block, over ``images`` images, which chosen
        modules it reaches, in which order, how often, and the shape of what they return.

        Raises:
            LayerError: A chosen module was not reached.
        """
        with recording_output_shapes(self._quantizers) as shapes:
            yield
        missed = [layer_of(name) for name in (*self._chosen, *self._weights) if name not in shapes]
        if missed:
            raise LayerError(
                f"the forward pass never reaches {', '.join(missed)}: {hint_for_missed(self.model, missed)}leave them out of the "
                "predicate, all_of(predicate, not_(name_matches('...')))"
            )
        # A weight is the same whatever the images.
        found = {
            name: Calls(called[0], math.prod(called[0]), len(called))
            if name in self._weights
            else summarize_calls(called, images)
            for name, called in shapes.items()
        }
        self._set_calls(found)

    def learn_dataflow(self, inputs: Any) -> None:
        """Watches passes over a few of the ``inputs`` of a batch for ``dataflow``."""
        self._dataflow = Dataflow((), ())
        with self.temporary_bit_widths([None] * len(self.names)), evaluation_mode(self):
            # Of a list of items one, for the others would wait in memory for their turn.
            for few in (take(inputs, slice(0, 2 if isinstance(inputs, Tensor) else 1)), inputs):
                with suppress(
                    Exception
                ):  # a user's forward may raise anything, where it is given less or watched
                    given, items = list(tensors(few)), count_items(few)
                    self._dataflow = watch_dataflow(
                        self.model,
                        self.activation_fake_quantizers,
                        given,
                        items,
                        partial(self._returned, few),
                        switched_on(self.model),
                    )
                    return
