"""Forward passes that begin at the first quantizer that changed."""

import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from qa_lib.batches.forward import check_no_autocast, try_forward
from qa_lib.batches.structure import concatenated, count_items, take
from qa_lib.bit_widths import BitWidths
from qa_lib.checks import kind_of
from qa_lib.errors import DataError, LayerError, QAWarning
from qa_lib.forward.fusion import fuse_graph
from qa_lib.forward.keeping import what_to_keep
from qa_lib.forward.layer_graph import LayerGraph
from qa_lib.forward.replica_check import behaviour_digest
from qa_lib.forward.toolkit_check import check_toolkit
from qa_lib.quantization.check_model import check_qmodel
from qa_lib.quantization.digests import network_digest
from qa_lib.quantization.quantized_model import QuantizedActivationsModel
from qa_lib.quantization.running import running

GIBIBYTE = 1 << 30
# Plans that are kept: one for each set of quantizers that differ from the base.
_MOST_PLANS = 1024

# What a quantizer does: its num_bits, and its amax.
State = tuple[int | None, tuple[float, ...]]
States = dict[str, State]


@dataclass(frozen=True)
class _Plan:
    """What has to be run of a batch: the nodes whose values are wanted, those that are kept and still hold, and the share of a
    whole pass that it takes."""

    wanted: frozenset[fx.Node]
    clean: frozenset[fx.Node]
    share: float


class IncrementalForward:
    """Outputs of a quantized model for settings that differ little from one another, bit for bit those of
    whole forward passes.

    Keeps activations of a base setting. Another setting runs only what depends on the quantizers that it
    changes (their width, or their ``amax``), on kept activations; a change to the network itself is noticed, and
    starts anew. A model that ``torch.fx`` cannot trace
    runs as a whole every time, with a warning. Several threads may use one: while one has set the widths of a batch and
    runs it, the others wait.

    Args:
        qmodel: The calibrated model; the base is the setting that it has now.
        batches: Inputs: images, shape ``(N, ...)`` each, say; a single tensor or dict is one batch.
        memory_budget: Bytes that kept activations may take. They are kept first where they save most
            time for their size; less memory means more to run again, never other numbers.
        network_may_change: Look at all weights before each pass. False saves that where nobody can change them.
        outputs_may_change: Look at what the float model returns for two items, too, before each pass: whatever else changes it
            shows there. False saves that where somebody else looks.

    Attributes:
        passes: Work so far in whole forward passes over all batches, by the times that the operations
            took when they were traced. An estimate.

    Raises:
        DataError: There are no batches, or a batch is no tensor.
        DeviceError: The images are not where the model is.
        NotCalibratedError: A quantizer that is switched on has no ``amax``.

    Warns:
        QAWarning: The model cannot be traced.

    Example:
        >>> incremental = IncrementalForward(qmodel, images.split(128))
        >>> incremental({"classifier": 3}).shape
        torch.Size([256, 10])
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        batches: Any,
        *,
        memory_budget: int = GIBIBYTE,
        network_may_change: bool = True,
        outputs_may_change: bool = True,
    ) -> None:
        check_qmodel(qmodel)
        self.qmodel = qmodel
        one = isinstance(batches, (Tensor, dict))
        # Not a list of them: some are made when they are asked for.
        self.batches: Sequence[Any] = [batches] if one else batches if isinstance(batches, Sequence) else []
        self.memory_budget = memory_budget
        self._network_may_change, self._outputs_may_change = network_may_change, outputs_may_change
        self._lock = threading.RLock()
        self._states_set: States | None = None
        self.passes = 0.0
        qmodel.check_calibrated()
        if isinstance(self.batches, str) or not len(self.batches):
            raise DataError(
                f"there are no batches ({kind_of(batches)}): give a tensor of images, or a list of such tensors"
            )
        self._sizes = []
        for inputs in self.batches:
            qmodel.check_device(inputs)
            self._sizes.append(count_items(inputs))
        self._images = sum(self._sizes)
        self._prepare()

    @property
    def traced(self) -> bool:
        """Whether the model could be traced, and work is saved."""
        return self._graph is not None

    @property
    def kept_bytes(self) -> int:
        """Memory that the kept activations take."""
        return sum(kept[node].nbytes for kept in self._kept for node in self._keep)

    def __call__(self, bit_widths: BitWidths) -> Any:
        """What the model returns for all images, with these widths and its present ``amax``.

        The base stays as it is.

        Args:
            bit_widths: One width for each quantizer, or a mapping from names to those that differ from
                the model's present ones; None is float.

        Returns:
            The outputs of all batches one after the other, shape ``(N, ...)``.
        """
        return concatenated(self.batches_of(bit_widths))

    def batches_of(self, bit_widths: BitWidths) -> list[Any]:
        """The same, batch by batch."""
        return list(self._run(bit_widths))

    def rebase(self, bit_widths: BitWidths) -> None:
        """Makes ``bit_widths``, with the present ``amax``, the base: what comes next should differ from it
        in few quantizers, or in late ones."""
        for _ in self._run(bit_widths, outputs=False, rebase=True):
            pass

    def rebase_batches(self, bit_widths: BitWidths) -> Iterator[Any]:
        """``rebase`` that returns what the model returns: the outputs of one batch after the other, shape ``(n, ...)``. It
        may be left at any batch; those that were not reached keep their base."""
        return self._run(bit_widths, rebase=True)

    def _run(self, bit_widths: BitWidths, *, outputs: bool = True, rebase: bool = False) -> Iterator[Any]:
        check_no_autocast()
        states = self._states(bit_widths)
        self._follow_the_network()
        for index, images in enumerate(self.batches):
            with self._lock:
                if (graph := self._graph) is not None:
                    plan = self._plan(graph, states, self._bases[index], outputs, rebase)
                    result = self._run_rest(graph, states, index, plan, images)
                    if rebase:
                        self._bases[index] = states
                else:
                    widths = [num_bits for num_bits, _ in states.values()]
                    result = self._run_whole(widths, images) if outputs else None
            if result is not None:
                yield result

    def _plan(self, graph: LayerGraph, states: States, base: States, outputs: bool, rebase: bool) -> _Plan:
        """What has to be run for ``states`` where ``base`` is kept."""
        changed = frozenset(name for name, state in states.items() if state != base[name])
        if (known := self._plans.get((changed, outputs, rebase))) is not None:
            return known
        dirty = graph.downstream(changed)
        wanted = ({graph.output_node} if outputs else set()) | (self._keep & dirty if rebase else set())
        clean = (self._keep | {graph.images}) - dirty
        share = graph.seconds(graph.needed(wanted, clean)) / graph.seconds(graph.nodes)
        plan = _Plan(frozenset(wanted), frozenset(clean), share)
        if len(self._plans) == _MOST_PLANS:
            self._plans.clear()
        self._plans[changed, outputs, rebase] = plan
        return plan

    def _run_rest(self, graph: LayerGraph, states: States, index: int, plan: _Plan, images: Tensor) -> Any:
        """Runs for one batch what depends on the quantizers that differ from its base."""
        kept = self._kept[index]
        self._set(graph.replica, states)
        self.passes += plan.share * self._sizes[index] / self._images
        with torch.inference_mode():
            known = {node: value for node, value in kept.items() if node in plan.clean} | {
                graph.images: images
            }
            values = graph.evaluate(plan.wanted, known)
        # Wanted beside the output, which is nobody's input and so never kept, is what a new base needs.
        kept.update({node: values[node] for node in plan.wanted & self._keep})
        return values.get(graph.output_node)

    def _prepare(self) -> None:
        """Traces the model, chooses what to keep, and runs the base."""
        self._plans: dict[tuple[frozenset[str], bool, bool], _Plan] = {}
        self._keep: set[fx.Node] = set()
        self._kept: list[dict[fx.Node, Any]] = []
        try:
            with self.qmodel.lock:  # the base is what the graph is made of
                self._network = self._looked_at()
                base = self._states(self.qmodel.bit_widths)
                self._graph: LayerGraph | None = LayerGraph(self.qmodel, self.batches[0])
        except LayerError as error:
            self._graph = None
            check_toolkit(self.qmodel, take(self.batches[0], slice(0, 8)))
            warnings.warn(
                f"torch.fx cannot take this model apart ({error}), so every setting runs the whole network: "
                "the same numbers, but nothing is saved",
                QAWarning,
                stacklevel=3,
            )
            return
        fuse_graph(self._graph, self.qmodel, self.batches[0])
        self._states_set = None
        self._keep = what_to_keep(self._graph, self.memory_budget * self._sizes[0] // self._images)
        with torch.inference_mode():
            for batch in self.batches:
                known = {self._graph.images: batch}
                self._kept.append(self._graph.evaluate(self._keep, known))
        self._bases = [base] * len(self.batches)
        self.passes += 1

    def _states(self, bit_widths: BitWidths) -> States:
        widths = self.qmodel.check_bit_widths(bit_widths)
        self.qmodel.check_calibrated(widths)
        quantizers = self.qmodel.fake_quantizers
        return {
            name: (
                num_bits,
                () if num_bits is None else tuple(quantizer.amax_at(num_bits).flatten().tolist()),
            )
            for (name, quantizer), num_bits in zip(quantizers.items(), widths, strict=True)
        }

    def _set(self, replica: QuantizedActivationsModel, states: States) -> None:
        """Gives the quantizers of the graph's ``replica`` these ``states``, unless they have them."""
        before = self._states_set or {}
        if states is before:
            return
        self._states_set = None  # if it does not come through
        quantizers, own = replica.fake_quantizers, self.qmodel.fake_quantizers
        for name, state in states.items():
            if state != before.get(name):
                quantizers[name].num_bits = num_bits = state[0]
                quantizers[name].amax_in_use = own[name].amax_at(num_bits)
        self._states_set = states

    def _follow_the_network(self) -> None:
        """Starts anew if a weight, a setting or the code of the model has changed, or what it returns for two images."""
        if self._network_may_change and self._looked_at() != self._network:
            with self._lock:
                self._prepare()

    def _looked_at(self) -> tuple[str, str]:
        """What would be another if the model were."""
        if not self._network_may_change:
            return "", ""
        some = take(self.batches[0], slice(0, 2))
        outputs = behaviour_digest(self.qmodel, some, (None,)) if self._outputs_may_change else ""
        return network_digest(self.qmodel), outputs

    def _run_whole(self, widths: Sequence[int | None], images: Any) -> Any:
        self.passes += count_items(images) / self._images
        with running(self.qmodel, widths):
            return try_forward(self.qmodel, images)
