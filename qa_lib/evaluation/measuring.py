"""What a batch's outputs add to a metric's sums; NaN among them is never taken for an answer."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from qa_lib.bit_widths import Widths
from qa_lib.checks import kind_of, naming
from qa_lib.errors import DataError, MetricError, QAWarning
from qa_lib.metrics import Metric

# The divergence of an item whose outputs are no numbers, and the largest there is.
MOST_DIVERGENCE = 1e6
# Of the float model's own outputs, from which what is kept is rounded: so much of that of other items', or so little an item.
_OWN_SHARE, _OWN_LEAST = 0.01, 1e-4


def check_score(metric: Metric, score: Any) -> float:
    """``score`` as a float; raises ``MetricError`` unless ``metric`` has made a number of the sums, at most its best."""
    try:
        found = float(score)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MetricError(
            f"the metric {metric.name!r} returns {kind_of(score)} as its score; it has to be one number"
        ) from error
    if math.isnan(found) or found > metric.best:
        raise MetricError(
            f"the metric {metric.name!r} returns {found:g} as its score; it has to be a number, and at most its best, {metric.best:g}"
        )
    return found


class Measuring:
    """A metric that looks at what it is given.

    Args:
        metric: What is measured.

    Attributes:
        said_nan: Whether it was said that a quantized model returns NaN.
    """

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.said_nan = False
        self._count = 0

    def sums(self, outputs: Any, targets: Any, bit_widths: Widths) -> Any:
        """What one batch adds, shape ``(k,)``; whatever the metric keeps of it if that cannot be summed.

        Args:
            outputs: What the model returns.
            targets: What it should.
            bit_widths: The setting that was run.

        Raises:
            DataError: The float model returns NaN, or what the metric cannot measure.
            MetricError: The metric raises, or returns something else than numbers, as many of each batch.

        Warns:
            QAWarning: A quantized model returns NaN; said once.
        """
        self.look_for_nan(outputs, bit_widths)
        with naming(f"the metric {self.metric.name!r}", MetricError):
            added = self.metric.measure(outputs, targets)
        if not self.metric.additive:
            return added
        self._check(added)
        return added.cpu().numpy()

    def keep(self, outputs: Any, items: int) -> Tensor | None:
        """What divergences are measured from, of what the float model returns for ``items`` items; None if the metric has no companion.

        Raises:
            MetricError: The metric raises, or keeps something else than a tensor of so many items.
        """
        with naming(f"keep() of the metric {self.metric.name!r}", MetricError):
            kept = self.metric.keep(outputs)
        if kept is None:
            return None
        if not isinstance(kept, Tensor) or not kept.dim() or len(kept) != items:
            given = f"shape {tuple(kept.shape)}" if isinstance(kept, Tensor) else kind_of(kept)
            raise MetricError(
                f"the metric {self.metric.name!r} keeps {given} of {items} items; it has to be a tensor of shape ({items}, ...), or None"
            )
        return kept.detach().cpu()

    def keep_rows(self, rows: Tensor, outputs: Any) -> None:
        """Writes what ``keep`` makes of ``outputs`` into ``rows``; raises ``MetricError`` if it does not fit there."""
        kept = self.keep(outputs, len(rows))
        if kept is None or kept.shape != rows.shape:
            given = "nothing" if kept is None else f"shape {tuple(kept.shape)}"
            raise MetricError(
                f"the metric {self.metric.name!r} keeps {given} of one batch, and shape {tuple(rows.shape)} of another: it has to be as much "
                "of each item"
            )
        rows.copy_(kept)

    def divergence(self, outputs: Any, kept: Tensor) -> float:
        """How far ``outputs`` are from what was ``kept`` of the float model's, summed over the items; 0 or more, finite.

        Raises:
            MetricError: The metric raises, or returns something else than one number from 0 up for each item.
        """
        with naming(f"divergence() of the metric {self.metric.name!r}", MetricError):
            found = self.metric.divergence(outputs, kept)
        if not isinstance(found, Tensor) or tuple(found.shape) != (len(kept),):
            given = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else kind_of(found)
            raise MetricError(
                f"the divergence of the metric {self.metric.name!r} is {given} for {len(kept)} items; it has to be shape ({len(kept)},)"
            )
        each = found.double().nan_to_num(nan=MOST_DIVERGENCE).clamp(max=MOST_DIVERGENCE)
        if bool((each < 0).any()):
            raise MetricError(
                f"the divergence of the metric {self.metric.name!r} is {float(each.min()):g} for an item; it has to be 0 or more"
            )
        # One after the other: a sum that no layout of the memory changes.
        return float(sum(each.tolist()))

    def check_companion(self, outputs: Any, kept: Tensor) -> None:
        """Raises ``MetricError`` unless the float model's ``outputs`` are next to nothing from what was ``kept`` of them, and each item's far from
        what was kept of others, where that differs; and the same twice."""
        own, again = (self.divergence(outputs, kept) for _ in range(2))
        others = kept.roll(1, 0)
        apart = self.divergence(outputs, others)
        if own != again:
            why = f"is {own:g} once and {again:g} when it is measured again"
        elif apart == 0 and not torch.equal(others, kept):
            why = "is 0 for outputs of other items, too"
        elif own > max(_OWN_SHARE * apart, _OWN_LEAST * len(kept)):
            why = f"of the float model's own outputs is {own / len(kept):g}, and of those of other items {apart / len(kept):g}"
        else:
            return
        raise MetricError(
            f"the divergence of the metric {self.metric.name!r} {why}: it has to say how far outputs are from the float model's, next to 0 for "
            "its own; without keep() there is none"
        )

    def _check(self, added: Any) -> None:
        """Raises ``MetricError`` unless ``added`` are numbers, as many as ever."""
        if not isinstance(added, Tensor) or added.dim() != 1 or not added.numel() or added.is_complex():
            given = f"shape {tuple(added.shape)}" if isinstance(added, Tensor) else kind_of(added)
            raise MetricError(
                f"the metric {self.metric.name!r} measures {given}; it has to be a tensor of k numbers, shape (k,)"
            )
        if self._count not in (0, len(added)):
            raise MetricError(
                f"the metric {self.metric.name!r} measures {len(added)} numbers of a batch, and {self._count} of another; it has to be as "
                "many of each"
            )
        self._count = len(added)
        if bool(added.isnan().any()):
            raise MetricError(
                f"the metric {self.metric.name!r} measures NaN; it has to count NaN outputs as wrong"
            )

    def look_for_nan(self, outputs: Any, bit_widths: Widths) -> None:
        """Raises, or warns, as ``sums`` does."""
        tensors = (leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor))
        if not any(tensor.is_floating_point() and bool(tensor.isnan().any()) for tensor in tensors):
            return
        if not any(bit_widths):
            raise DataError(
                "the float model returns NaN for some of the images: check its weights, and leave those images out"
            )
        self.say_nan(bit_widths)

    def say_nan(self, bit_widths: Widths) -> None:
        """Warns, once, that the model returns NaN at ``bit_widths``."""
        if not self.said_nan:
            self.said_nan = True
            warnings.warn(
                f"the model returns NaN at bit widths {bit_widths}, and may at others: such outputs count as wrong",
                QAWarning,
                stacklevel=3,
            )
