"""The mean squared error of a quantizer, from the histogram of what it is given."""

import numpy as np

from qa_lib.compiled import compiled
from qa_lib.quantization.activation_statistics import LayerStatistics
from qa_lib.quantization.fake_quantize import grid_bounds

# Up to this width the error is summed level by level; from there on the levels are finer than the bins.
LAST_WIDTH_BY_LEVELS = 8
# Ratio of the largest magnitude to the smallest amax that is tried; how many are, and how many around the best.
_SPAN, _COARSE, _FINE = 65_536.0, 127, 9


Grid = tuple[float, float, float]  # what _grid returns
Bins = tuple[np.ndarray, np.ndarray, np.ndarray]  # LayerStatistics.histogram


def least_squared_error_amax(layer: LayerStatistics, num_bits: int, *, unsigned: bool) -> float:
    """The ``amax`` with which ``num_bits`` bits give the least mean squared error.

    The error is that of the quantizer's own grid (the signed one has a level more below zero), for values
    spread evenly within each bin. Tried on a logarithmic grid up to the largest magnitude, then twice more finely
    around the best.

    Args:
        layer: Statistics of what the quantizer is given.
        num_bits: Width, 2..16.
        unsigned: Whether the grid begins at 0.
    """
    largest = layer.largest_magnitude
    if not largest:
        return 0.0
    best = _best_of(layer, largest * _SPAN ** -np.linspace(0, 1, _COARSE), num_bits, unsigned)
    ratio = _SPAN ** (1 / (_COARSE - 1))
    for _ in range(2):
        tried = np.minimum(best * ratio ** np.linspace(1, -1, _FINE), largest)
        best = _best_of(layer, tried, num_bits, unsigned)
        ratio **= 2 / (_FINE - 1)
    return best


def _best_of(layer: LayerStatistics, tried: np.ndarray, num_bits: int, unsigned: bool) -> float:
    """The best of ``tried``, which descend; of equals the largest."""
    return float(tried[_least(tried, _grid(layer, num_bits, unsigned), layer.histogram, layer.moments)])


def squared_error(layer: LayerStatistics, amax: float, num_bits: int, *, unsigned: bool = False) -> float:
    """The mean squared error of quantizing with ``num_bits`` bits and ``amax``; an estimate from the histogram.

    Up to 8 bits level by level; with more, Bennett's (1948) step^2 / 12 inside the range, zeros left out.
    """
    error = _error(amax, _grid(layer, num_bits, unsigned), layer.histogram, layer.moments)
    return float(error / layer.count)


def _grid(layer: LayerStatistics, num_bits: int, unsigned: bool) -> Grid:
    """Lowest level, highest level, and the number of activations that Bennett's formula counts, or 0."""
    inside = 0.0 if num_bits <= LAST_WIDTH_BY_LEVELS else float(layer.count - layer.zeros)
    return (*grid_bounds(num_bits, unsigned=unsigned), inside)


@compiled
def _sums_up_to(
    border: float, start: int, bins: Bins, moments: np.ndarray
) -> tuple[int, float, float, float]:
    """The bin that ``border`` is in, ``start`` or later, and the sums of 1, x, x^2 over what is below."""
    lower, upper, counts = bins
    low, high = start, upper.size
    while low < high:
        middle = (low + high) // 2
        if upper[middle] <= border:
            low = middle + 1
        else:
            high = middle
    s0, s1, s2 = moments[0, low], moments[1, low], moments[2, low]
    if low < upper.size and lower[low] < border:
        first = lower[low]
        part = counts[low] * (border - first) / (upper[low] - first)
        s0 += part
        s1 += part * (first + border) / 2
        s2 += part * (first * first + first * border + border * border) / 3
    return low, s0, s1, s2


@compiled
def _error_outside(amax: float, grid: Grid, bins: Bins, moments: np.ndarray) -> float:
    """The squared error of what lies outside of the grid: grows as ``amax`` shrinks."""
    smallest, largest, _ = grid
    bottom = smallest / largest * amax
    place, s0, s1, s2 = _sums_up_to(bottom, 0, bins, moments)
    below = s2 - 2 * bottom * s1 + bottom * bottom * s0
    _, s0, s1, s2 = _sums_up_to(amax, place, bins, moments)
    s0, s1, s2 = moments[0, -1] - s0, moments[1, -1] - s1, moments[2, -1] - s2
    return max(below, 0.0) + max(s2 - 2 * amax * s1 + amax * amax * s0, 0.0)


@compiled
def _error(amax: float, grid: Grid, bins: Bins, moments: np.ndarray) -> float:
    smallest, largest, inside = grid
    step = amax / largest
    if inside > 0.0:
        outside = _error_outside(amax, grid, bins, moments)
        return outside + inside * step * step / 12
    error, place, level = 0.0, 0, smallest
    s0 = s1 = s2 = 0.0
    while level <= largest:
        value = level * step
        if level < largest:
            place, t0, t1, t2 = _sums_up_to(value + step / 2, place, bins, moments)
        else:
            t0, t1, t2 = moments[0, -1], moments[1, -1], moments[2, -1]
        error += (t2 - s2) - 2 * value * (t1 - s1) + value * value * (t0 - s0)
        s0, s1, s2 = t0, t1, t2
        level += 1
    return max(error, 0.0)


@compiled
def _least(tried: np.ndarray, grid: Grid, bins: Bins, moments: np.ndarray) -> int:
    best, found = 0, np.inf
    for index in range(tried.size):
        if _error_outside(tried[index], grid, bins, moments) > found:
            break  # and with every smaller one
        error = _error(tried[index], grid, bins, moments)
        if error < found:
            best, found = index, error
    return best
