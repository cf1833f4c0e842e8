"""What makes one number, higher is better, of a model's outputs and the targets."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor


class Metric(Protocol):
    """A score that is a function of sums over the batches. Subclass it; ``measure`` and ``score`` are what it needs.

    Attributes:
        name: What it is called on axes, in tables, on the page: "accuracy".
        unit: "%" of shares (0 to 1, shown times 100), "dB", or "".
        best: The highest score there is.

    Example:
        >>> class PixelAccuracy(Metric):
        ...     name, unit, best = "pixel accuracy", "%", 1.0
        ...     def measure(self, outputs, targets):
        ...         return torch.tensor([(outputs.argmax(dim=1) == targets).sum(), targets.numel()])
        ...     def score(self, sums):
        ...         return float(sums[0] / sums[1])
        >>> PixelAccuracy().score(torch.tensor([3, 4]))
        0.75
    """

    name: str
    unit: str = ""
    best: float = float("inf")

    def measure(self, outputs: Any, targets: Any) -> Tensor:
        """What one batch adds to the sums.

        Args:
            outputs: What the model returned for the batch.
            targets: The batch's targets.

        Returns:
            Shape ``(k,)``, the same k for all batches, integers or float64.

        Raises:
            DataError: Outputs and targets do not belong together, or are nothing that this metric is of.
        """
        raise NotImplementedError

    def score(self, sums: Tensor) -> float:
        """The score of what any set of batches added up to, shape ``(k,)``; higher is better."""
        raise NotImplementedError

    def perfect(self, targets: Any) -> Tensor | None:
        """What a batch would add if answered perfectly, shape ``(k,)``; None if that is not known.

        A metric that knows it promises that ``score(seen + perfect(rest))`` is an upper bound, whatever the outputs of the
        rest are: then hopeless candidates stop early.

        Raises:
            DataError: The targets are nothing that this metric is of.
        """
        return None

    def possible(self, added: np.ndarray, targets: Sequence[Any]) -> bool:
        """Whether batches with these targets can have added this, shape ``(batches, k)``; what an archive says that cannot be is
        measured anew."""
        return not bool(np.isnan(added).any())

    def margins(self, outputs: Any, targets: Any) -> Tensor | None:
        """How safely each item is answered, shape ``(N,)``, the least safe lowest; None if there is no such order.

        Items that the float model answers least safely are shown first, so that the bound bites early.
        """
        return None

    def by_class(self, outputs: Any, targets: Any) -> Tensor | None:
        """Right answers and items of each class, shape ``(2, classes)``; None where there are no classes."""
        return None
