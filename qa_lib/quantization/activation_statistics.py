"""What the calibration images showed of each layer's activations: extremes, mean, zeros, a fine histogram."""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch

from qa_lib.errors import CalibrationError

# A bin is what the upper bits of a float32 say: sign, exponent and 10 bits of the mantissa. So there are 1,024
# bins in each octave, whatever the range turns out to be, and none has to move when a larger value comes.
MANTISSA_BITS = 10
KEY_SHIFT = 23 - MANTISSA_BITS
KEYS = 1 << (32 - KEY_SHIFT)


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """What a quantizer was given for the calibration images, as far as calibration needs to know.

    Attributes:
        count: Number of activations.
        minimum: The smallest, by value.
        maximum: The largest, by value.
        keys: The bins that hold something, ascending: the upper 19 bits of the float32 numbers in it.
        counts: Number of activations in each of those bins, same shape.
    """

    count: int
    minimum: float
    maximum: float
    keys: np.ndarray
    counts: np.ndarray

    @cached_property
    def zeros(self) -> int:
        """How many activations are zero (or below 2^-136 in magnitude)."""
        return int(self.counts[self.keys % (KEYS // 2) == 0].sum())

    @property
    def zero_share(self) -> float:
        """Share of the activations that are zero, 0 to 1."""
        return self.zeros / self.count

    @property
    def mean(self) -> float:
        """Mean of the activations, from the histogram: within a thousandth of the mean magnitude."""
        return float(self.moments[1, -1] / self.count)

    @property
    def largest_magnitude(self) -> float:
        """What method ``"max"`` takes as ``amax``."""
        return max(abs(self.minimum), abs(self.maximum))

    @cached_property
    def histogram(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower edges, upper edges and counts of the bins that hold something, from the lowest value to the
        highest, shape ``(bins,)`` each, as float64. A bin is at most a 1,024th of its values wide."""
        first_negative = int(self.keys.searchsorted(KEYS // 2))
        positive, negative = self.keys[:first_negative], self.keys[first_negative:][::-1] - KEYS // 2
        lower = np.concatenate([-_edge(negative + 1), _edge(positive)])
        upper = np.concatenate([-_edge(negative), _edge(positive + 1)])
        counts = np.concatenate([self.counts[first_negative:][::-1], self.counts[:first_negative]])
        # Most of the outermost bins may lie outside of what there is.
        lower[0], upper[-1] = max(lower[0], self.minimum), min(upper[-1], self.maximum)
        return lower, upper, counts.astype(float)

    @cached_property
    def moments(self) -> np.ndarray:
        """Sums of ``1, x, x^2`` over the values in all bins of ``histogram`` before each one, and in all of them,
        shape ``(3, bins + 1)``; values are taken as spread evenly within their bin."""
        lower, upper, counts = self.histogram
        sums = np.zeros((3, len(counts) + 1))
        first = counts * (lower + upper) / 2
        second = counts * (lower * lower + lower * upper + upper * upper) / 3
        for row, values in zip(sums, (counts, first, second), strict=True):
            np.cumsum(values, out=row[1:])
        return sums

    @cached_property
    def mean_magnitude(self) -> float:
        """Mean of the magnitudes, from the histogram: within a thousandth."""
        lower, upper, counts = self.histogram
        return float((np.abs(lower + upper) / 2 * counts).sum() / self.count)

    @cached_property
    def mean_square(self) -> float:
        """Mean of the squares, from the histogram: within a thousandth."""
        return float(self.moments[2, -1] / self.count)

    @cached_property
    def magnitudes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Lower edges, upper edges of the bins that hold magnitudes, ascending, and how many activations are in
        each one and all before it, shape ``(bins,)`` each."""
        keys = self.keys % (KEYS // 2)
        counts = np.bincount(keys, weights=self.counts)
        keys = np.flatnonzero(counts)
        return _edge(keys), np.minimum(_edge(keys + 1), self.largest_magnitude), counts[keys].cumsum()

    @cached_property
    def linear_magnitudes(self) -> tuple[np.ndarray, float]:
        """The histogram of the magnitudes in 1,025 to 2,048 bins of one width, the first of which begins at 0:
        their counts, shape ``(bins,)``, and the width, a power of two."""
        width = float(2.0 ** (np.frexp(self.largest_magnitude)[1] - 1 - MANTISSA_BITS))
        places = (_edge(self.keys % (KEYS // 2)) / width).astype(np.int64)
        return np.bincount(places, weights=self.counts), width

    def __add__(self, other: "LayerStatistics") -> "LayerStatistics":
        keys, places = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        return LayerStatistics(
            self.count + other.count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            keys,
            np.bincount(places, np.concatenate([self.counts, other.counts])).astype(np.int64),
        )

    def __deepcopy__(self, memo: Any) -> "LayerStatistics":
        # Nothing changes it, and every copy of a calibrated model would carry its own.
        return self


def _edge(keys: np.ndarray) -> np.ndarray:
    """The smallest magnitudes in bins ``keys``; for those past the last finite number, that."""
    edges = (keys.astype(np.uint32) << KEY_SHIFT).view(np.float32)
    return np.where(np.isfinite(edges), edges, np.finfo(np.float32).max).astype(float)


@dataclass(frozen=True, eq=False)
class ActivationStatistics:
    """``LayerStatistics`` of every quantizer of a model, by name; ``collect_statistics`` makes them.

    Those of two sets of images add up (``+``) to those of both. They are recognised by the names of the quantizers
    only: whether they come from these weights and images like these is for the caller to know. A calibrated model
    keeps its own as ``qmodel.statistics``, and in its state dict.

    Attributes:
        layers: Name of the quantizer -> its statistics, in order.
        images: Number of images.

    Example:
        >>> statistics = collect_statistics(qmodel, workload.calibration_loader())
        >>> round(statistics["input"].zero_share, 2)
        0.5
    """

    layers: Mapping[str, LayerStatistics]
    images: int

    def __getitem__(self, name: str) -> LayerStatistics:
        return self.layers[name]

    def __add__(self, other: "ActivationStatistics") -> "ActivationStatistics":
        if not isinstance(other, ActivationStatistics):
            return NotImplemented
        if list(self.layers) != list(other.layers):
            raise CalibrationError(
                f"statistics of quantizers {', '.join(self.layers)} do not add up with those of "
                f"{', '.join(other.layers)}: both have to come from one model with one predicate"
            )
        layers = {name: layer + other.layers[name] for name, layer in self.layers.items()}
        return ActivationStatistics(layers, self.images + other.images)

    def to_frame(self) -> pd.DataFrame:
        """One row for each quantizer: ``name``, ``minimum``, ``maximum``, ``mean``, ``zero_share`` (0 to 1) and
        ``count`` (activations)."""
        columns = ("minimum", "maximum", "mean", "zero_share", "count")
        rows = [{c: getattr(layer, c) for c in columns} for layer in self.layers.values()]
        return pd.DataFrame(rows, columns=list(columns)).assign(name=list(self.layers))[["name", *columns]]

    def state(self) -> dict[str, Any]:
        """Everything as plain values and tensors, which ``torch.save`` takes; bins are compressed."""
        scalars = ("count", "minimum", "maximum")
        layers = {
            name: {key: getattr(layer, key) for key in scalars}
            | {"keys": _pack(np.diff(layer.keys, prepend=0)), "counts": _pack(layer.counts)}
            for name, layer in self.layers.items()
        }
        return {"images": self.images, "layers": layers}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ActivationStatistics":
        """What ``state`` was taken from; raises ``ValueError`` or what else it stumbles over if it is none."""
        layers = {str(name): _layer_from_state(name, **layer) for name, layer in state["layers"].items()}
        if not isinstance(state["images"], int) or state["images"] < 1:
            raise ValueError(f"statistics of {state['images']!r} images")
        return cls(layers, state["images"])

    def __deepcopy__(self, memo: Any) -> "ActivationStatistics":
        return self


def _pack(numbers: np.ndarray) -> torch.Tensor:
    packed = zlib.compress(numbers.astype("<i8").reshape(-1, 1).view(np.uint8).T.tobytes(), level=1)
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def _layer_from_state(
    name: str, count: int, minimum: float, maximum: float, keys: torch.Tensor, counts: torch.Tensor
) -> LayerStatistics:
    layer = LayerStatistics(count, minimum, maximum, np.cumsum(_unpack(keys)), _unpack(counts))
    bins = layer.keys
    ascending = bins.size and bins[0] >= 0 and bins[-1] < KEYS and bool((np.diff(bins) > 0).all())
    if not ascending or bins.shape != layer.counts.shape or not bool((layer.counts > 0).all()):
        raise ValueError(f"a histogram of '{name}' that is none")
    if int(layer.counts.sum()) != count or not -math.inf < minimum <= maximum < math.inf:
        raise ValueError(f"statistics of '{name}' that contradict each other")
    return layer


def _unpack(packed: torch.Tensor) -> np.ndarray:
    largest = 8 * KEYS  # bytes; a small file can hold any number
    unpacking = zlib.decompressobj()
    unpacked = unpacking.decompress(packed.cpu().numpy().tobytes(), largest)
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError("a histogram of more bins than there are")
    columns = np.frombuffer(unpacked, np.uint8).reshape(8, -1)
    return np.ascontiguousarray(columns.T).view("<i8").reshape(-1).astype(np.int64)
