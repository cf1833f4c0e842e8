"""How far quantized magnitudes diverge from the float ones, from a linear histogram of these."""

import numpy as np

from qa_lib.checks import check_count
from qa_lib.compiled import compiled
from qa_lib.errors import CalibrationError
from qa_lib.quantization.activation_statistics import LayerStatistics


def least_divergence_amax(
    layer: LayerStatistics, num_bits: int, *, unsigned: bool, stride: int = 1, start_bin: int = 128
) -> float:
    """The ``amax`` with the least Kullback-Leibler divergence, on the edges of the layer's linear histogram.

    Gives what ``pytorch_quantization.calib.HistogramCalibrator`` gives for the same histogram, its quirk
    included that the first bin counts as much as the second, in place of the zeros.

    Args:
        layer: Statistics of what the quantizer is given.
        num_bits: Width, 2..16.
        unsigned: Whether the grid begins at 0, and has twice as many levels above.
        stride: Look at every so many edges.
        start_bin: The first edge to look at.

    Raises:
        CalibrationError: ``stride`` or ``start_bin`` are no whole numbers in their range.
    """
    for name, value in (("stride", stride), ("start_bin", start_bin)):
        check_count(name, value, CalibrationError, largest=1024)
    if not layer.largest_magnitude:
        return 0.0
    counts, width = layer.linear_magnitudes
    groups = 2 ** (num_bits - 1 + unsigned)
    return min(least_divergence_edge(counts, groups, stride, start_bin) * width, layer.largest_magnitude)


def least_divergence_edge(counts: np.ndarray, groups: int, stride: int = 1, start_bin: int = 128) -> int:
    """The number of bins to keep so that the first ``groups`` of equal width, each spread evenly over its bins that
    hold something, diverge least from all of ``counts`` (what is cut off counted into the last bin that is kept).

    The last of equals. Counts are whole numbers as float64, shape ``(bins,)``; at least ``start_bin`` are kept.
    """
    counts = counts.copy()
    counts[0] = counts[1]
    return int(_least(counts, groups, stride, min(start_bin, len(counts))))


@compiled
def _least(counts: np.ndarray, groups: int, stride: int, start: int) -> int:
    # Over the bins before each one: the sum of p, how many are not empty, and the sum of p log p.
    sums, filled, entropies = np.zeros(counts.size + 1), np.zeros(counts.size + 1), np.zeros(counts.size + 1)
    for index in range(counts.size):
        count = counts[index]
        sums[index + 1] = sums[index] + count
        filled[index + 1] = filled[index] + (count > 0.0)
        entropies[index + 1] = entropies[index] + (count * np.log(count) if count > 0.0 else 0.0)
    total = sums[-1]
    last = start + (counts.size - start) // stride * stride
    best, best_kept = np.inf, last
    for kept in range(last, start - 1, -stride):
        inside = sums[kept]
        outside = total - inside
        final = counts[kept - 1]
        if outside == 0.0 and groups >= kept:
            return kept  # nothing is lost
        if inside == 0.0 or (final == 0.0 and outside > 0.0):
            continue  # endless
        scale = kept / groups
        # By the chain rule: the divergence of the groups, of which only the one with the last bin has another share
        # than before, and within each group that of its bins. No part is negative, so too much is too much.
        found = 0.0
        if outside > 0.0:
            first = int(np.ceil(int((kept - 1) / scale) * scale))
            mass = sums[kept] - sums[first]
            found = (mass + outside) * np.log((mass + outside) / mass * inside / total)
            if inside > mass:
                found += (inside - mass) * np.log(inside / total)
        low = 0
        for group in range(groups):
            if found >= best:
                break
            high = kept if group == groups - 1 else int(np.ceil((group + 1) * scale))
            bins = filled[high] - filled[low]
            if bins > 1.0:
                mass = sums[high] - sums[low]
                within = entropies[high] - entropies[low]
                if high == kept and outside > 0.0:
                    mass += outside
                    within += (final + outside) * np.log(final + outside) - final * np.log(final)
                found += max(within - mass * np.log(mass / bins), 0.0)
            low = high
        if found < best:
            best, best_kept = found, kept
    return best_kept
