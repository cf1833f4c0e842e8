"""Scores of outputs that are numbers: squared errors, and signal against noise."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qa_lib.checks import check_positive
from qa_lib.errors import DataError, MetricError
from qa_lib.metrics.checks import check_alike
from qa_lib.metrics.metric import Metric

# A finite best, in dB: what is nearer to the targets than that counts as equal to them.
MOST_DECIBELS = 80.0


class _SquaredErrors(Metric):
    """Sums of squared errors, and of what they are compared with. NaN is an endless error."""

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        outputs, targets = check_alike(self.name, outputs, targets)
        error = (outputs.double() - targets.double()).square().sum()
        return torch.stack([error.nan_to_num(math.inf, math.inf), self._scale(targets)])

    def perfect(self, targets: Any) -> Tensor:
        if not isinstance(targets, Tensor) or targets.is_complex():
            given = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
            raise DataError(f"targets are {given}; {self.name} needs a tensor of numbers")
        if not bool(torch.isfinite(targets).all()):
            raise DataError("targets hold NaN or infinity: leave those items out")
        scale = self._scale(targets)
        return torch.stack([torch.zeros_like(scale), scale])

    def possible(self, added: np.ndarray, perfect: np.ndarray | None) -> bool:
        if perfect is None or added.shape != perfect.shape or np.isnan(added).any():
            return False
        return bool((added[:, 0] >= 0).all() and np.allclose(added[:, 1], perfect[:, 1], rtol=1e-12, atol=0))

    def _scale(self, targets: Tensor) -> Tensor:
        """What the errors of a batch are compared with, in double precision."""
        return torch.tensor(float(targets.numel()), dtype=torch.float64, device=targets.device)


class MeanSquaredError(_SquaredErrors):
    """Minus the mean squared error, so that higher is better; 0 is the best.

    Outputs and targets are numbers of one shape, ``(N, ...)``.

    Example:
        >>> metric = MeanSquaredError()
        >>> metric.score(metric.measure(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])))
        -2.0
    """

    name, unit, best, worst = "negative mean squared error", "", 0.0, -math.inf

    def score(self, sums: Tensor) -> float:
        error, count = sums.tolist()
        return 0.0 - error / count

    def margins(self, outputs: Any, targets: Any) -> Tensor:
        """Minus an item's squared error."""
        outputs, targets = check_alike(self.name, outputs, targets)
        return -(outputs.double() - targets.double()).square().reshape(len(targets), -1).sum(dim=1)


class PSNR(_SquaredErrors):
    """Peak signal-to-noise ratio in dB, of the mean squared error of all items together, and not the mean of the items' ratios, so that
    a bound exists; 80 dB at most, and 0 dB is worth nothing.

    Outputs and targets are numbers of one shape, ``(N, ...)``.

    Args:
        peak: The largest value that targets can have: 1.0, or 255.

    Example:
        >>> metric = PSNR(peak=1.0)
        >>> metric.score(metric.measure(torch.tensor([0.6, 0.5]), torch.tensor([0.5, 0.4])))
        19.99...
    """

    name, unit, best = "PSNR", "dB", MOST_DECIBELS

    def __init__(self, peak: float = 1.0) -> None:
        self.peak = check_positive("peak", peak, MetricError)

    def score(self, sums: Tensor) -> float:
        error, count = sums.tolist()
        return _decibels(self.peak**2 * count, error)

    margins = MeanSquaredError.margins


class SQNR(_SquaredErrors):
    """Signal-to-quantization-noise ratio in dB: the float model's outputs against what quantization adds to them, all items together;
    80 dB at most, and 0 dB is worth nothing. Needs no labels.

    Outputs are one floating-point tensor, shape ``(N, ...)``.

    Example:
        >>> metric = SQNR()
        >>> metric.score(metric.measure(torch.tensor([1.1, -1.1]), torch.tensor([1.0, -1.0])))
        19.99...
    """

    name, unit, best, needs_targets = "SQNR", "dB", MOST_DECIBELS, False

    def score(self, sums: Tensor) -> float:
        noise, signal = sums.tolist()
        return _decibels(signal, noise)

    def reference(self, outputs: Any) -> Tensor:
        return check_alike(self.name, outputs, outputs)[0]

    def _scale(self, targets: Tensor) -> Tensor:
        return targets.double().square().sum()


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return MOST_DECIBELS
    ratio = signal / noise
    return min(MOST_DECIBELS, 10 * math.log10(ratio)) if ratio > 0 else -math.inf
