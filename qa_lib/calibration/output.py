"""The ``amax`` that disturbs the network's output least, in place of each layer's own error.

Layers differ in how much of their error reaches the output, and some errors cancel, so the least error of each
layer is the wrong target at few bits (Nahshan et al., "Loss Aware Post-Training Quantization", 2021; Nagel et al.,
"Up or Down? Adaptive Rounding for Post-Training Quantization", 2020).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from qa_lib.batches.forward import forward
from qa_lib.batches.structure import floating, numbers_of, take
from qa_lib.bit_widths import Widths
from qa_lib.errors import CalibrationError, ReplicaError
from qa_lib.forward.incremental import IncrementalForward
from qa_lib.forward.replica_check import checked_replicas
from qa_lib.metrics.divergence import Divergence, diverges
from qa_lib.quantization.quantized_model import QuantizedActivationsModel

Amax = dict[str, float]  # name of the quantizer -> amax

# Tried for each layer by itself, and then around what was chosen with all layers quantized; times amax. Of equals
# the first is taken.
ALONE = (1.0, 0.9, 1.12, 0.8, 1.25, 0.7, 1.45, 0.6)
TOGETHER = (0.75, 0.87, 1.15, 1.33)


class OutputCalibration:
    """Finds the ``amax`` of every quantizer for which a setting's outputs diverge least from the float ones.

    Works on a copy: the model stays as it is.

    Args:
        qmodel: The model.
        batches: Calibration images, shape ``(N, ...)`` each.
        unsigned: Name of the quantizer -> whether its grid begins at 0.
        divergence: Compares outputs.

    Attributes:
        forward: Runs the copy; its ``passes`` are what this has cost so far.

    Raises:
        CalibrationError: The model cannot be copied, or does not return one tensor, or ``divergence`` fails.
    """

    def __init__(
        self,
        qmodel: QuantizedActivationsModel,
        batches: Sequence[Any],
        unsigned: Mapping[str, bool],
        divergence: Divergence,
    ) -> None:
        try:
            (self.replica,) = checked_replicas(qmodel, 1, take(batches[0], slice(0, 8)))
        except ReplicaError as error:
            raise CalibrationError(f"method 'output' works on a copy of the model: {error}") from error
        if self.replica is qmodel:
            raise CalibrationError("method 'output' works on a copy of the model, and it cannot be copied")
        self.divergence = divergence
        self.replica.bit_widths = [None] * len(qmodel.names)
        for name, quantizer in self.replica.activation_fake_quantizers.items():
            quantizer.unsigned = unsigned[name]
        with torch.inference_mode():
            returned = forward(self.replica.eval(), take(batches[0], slice(0, 1)))
        if not floating(returned):
            raise CalibrationError(
                f"the model returns {type(returned).__name__}; method 'output' compares what it returns, and "
                "needs a floating-point tensor in it"
            )
        self.forward = IncrementalForward(self.replica, batches, network_may_change=False)
        self.reference = numbers_of(self.forward(self.replica.bit_widths))
        diverges(divergence, self.reference, self.reference)  # a mistake shows now, not after minutes

    @staticmethod
    def trials(widths: Widths) -> int:
        """How many settings ``find`` compares."""
        return sum(width is not None for width in widths) * (len(ALONE) + len(TOGETHER))

    def find(self, widths: Widths, candidates: Mapping[str, Amax], on_trial: Callable[[], object]) -> Amax:
        """The ``amax`` of each quantizer with which ``widths`` disturb the output least.

        Begins with each layer by itself, around the first candidate; goes on from the best of that and of
        all candidates; then one round over all layers, from the first to the last.

        Args:
            widths: The setting; quantizers that are switched off keep the first candidate's ``amax``.
            candidates: Name -> ``amax`` of each quantizer, from other methods.
            on_trial: Called after each comparison.
        """
        first = next(iter(candidates.values()))
        alone = self._alone(widths, first, on_trial)
        return self._together(widths, [alone, *candidates.values()], on_trial)

    def _alone(self, widths: Widths, start: Amax, on_trial: Callable[[], object]) -> Amax:
        self._set(start)
        self.forward.rebase([None] * len(widths))
        found = dict(start)
        for name, width in self._quantized(widths):
            trials = {}
            for factor in ALONE:
                trials[factor * start[name]] = self._divergence({name: width}, {name: factor * start[name]})
                on_trial()
            found[name] = min(trials, key=trials.__getitem__)
        return found

    def _together(self, widths: Widths, starts: Sequence[Amax], on_trial: Callable[[], object]) -> Amax:
        divergences = [self._divergence(widths, start) for start in starts]
        least = min(divergences)
        best = dict(starts[divergences.index(least)])
        self._set(best)
        self.forward.rebase(widths)
        for name, _ in self._quantized(widths):
            middle = best[name]
            for factor in TOGETHER:
                divergence = self._divergence(widths, {name: factor * middle})
                if divergence < least:
                    least, best[name] = divergence, factor * middle
                on_trial()
            self._set({name: best[name]})
            self.forward.rebase(widths)
        return best

    def _quantized(self, widths: Widths) -> Iterator[tuple[str, int]]:
        return ((n, w) for n, w in zip(self.replica.names, widths, strict=True) if w is not None)

    def _divergence(self, widths: Widths | Mapping[str, int], amax: Amax) -> float:
        self._set(amax)
        return diverges(self.divergence, numbers_of(self.forward(widths)), self.reference)

    def _set(self, amax: Amax) -> None:
        for name, value in amax.items():
            self.replica.activation_fake_quantizers[name].amax = value
