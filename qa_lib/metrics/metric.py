"""What makes one number, higher is better, of a model's outputs and the targets."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from qa_lib.errors import MetricError


class Metric(Protocol):
    """A score that is a function of sums over the batches. Subclass it; ``measure`` and ``score`` are what it needs.

    Attributes:
        name: What it is called on axes, in tables, on the page: "accuracy".
        unit: "%" of shares (0 to 1, shown times 100), "dB", or "".
        best: The highest score there is.
        worst: The score of what is worth nothing; minus infinity where no score says so.
        additive: Whether what batches add may be summed. If not, ``score`` is given what each batch added, in order; only the score
            is kept, and nothing stops early.
        needs_targets: Whether targets come with the data. If not, ``reference`` makes them of the float model's outputs.

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
    best: float = math.inf
    worst: float = 0.0
    additive: bool = True
    needs_targets: bool = True

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

    def score(self, sums: Any) -> float:
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

    def possible(self, added: np.ndarray, perfect: np.ndarray | None) -> bool:
        """Whether batches can have added this, shape ``(batches, k)``, where ``perfect`` is what they would add if answered perfectly,
        same shape, if that is known; what an archive says that cannot be is measured anew."""
        return not bool(np.isnan(added).any()) and (perfect is None or added.shape == perfect.shape)

    def margins(self, outputs: Any, targets: Any) -> Tensor | None:
        """How safely each item is answered, shape ``(N,)``, the least safe lowest; None if there is no such order.

        Items that the float model answers least safely are shown first, so that the bound bites early.
        """
        return None

    def measure_items(self, outputs: Any, targets: Any) -> Tensor | None:
        """What each item of a batch adds by itself, shape ``(N, k)``; None measures one after the other, which takes longer."""
        return None

    def keep(self, outputs: Any) -> Tensor | None:
        """What ``divergence`` needs of what the float model returns for a batch, shape ``(N, ...)``; None if the score has no smooth
        companion, or is smooth itself. It is kept for the whole search set: make it small."""
        return None

    def divergence(self, outputs: Any, kept: Tensor) -> Tensor:
        """How far each item's outputs are from the float model's: a smooth companion of the score, which needs no targets.

        Args:
            outputs: What the model returned for the batch.
            kept: What ``keep`` made of the float model's outputs for the same items, shape ``(N, ...)``.

        Returns:
            Shape ``(N,)``, float64, 0 or more each; smaller is better. NaN outputs are infinitely far.
        """
        raise MetricError(
            f"{self.name} keeps something of the float model's outputs, and has no divergence()"
        )

    def by_class(self, outputs: Any, targets: Any) -> Tensor | None:
        """Right answers and items of each class, shape ``(2, classes)``; None where there are no classes."""
        return None

    def reference(self, outputs: Any) -> Any:
        """The targets, made of what the float model returns for a batch; for a metric that needs none."""
        raise MetricError(f"{self.name} is of outputs and targets: give targets")


@dataclass(frozen=True)
class Scale:
    """How scores are called and written.

    Attributes:
        name: As of ``Metric``.
        unit: As of ``Metric``.
        best: As of ``Metric``.
        worst: As of ``Metric``.

    Example:
        >>> Scale().text(0.921)
        '92.10%'
        >>> Scale("PSNR", "dB", 80.0).text(31.2)
        '31.20 dB'
    """

    name: str = "accuracy"
    unit: str = "%"
    best: float = 1.0
    worst: float = 0.0

    @classmethod
    def of(cls, metric: Metric) -> "Scale":
        """The scale of ``metric``."""
        return cls(metric.name, metric.unit, metric.best, metric.worst)

    @property
    def factor(self) -> float:
        """What scores are shown times: 100 for shares."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def axis(self) -> str:
        """What an axis is called whose numbers are written as ``tick`` does."""
        return self.name if self.unit in ("", "%") else f"{self.name} ({self.unit})"

    @property
    def column(self) -> str:
        """What tables call it: the name in one word."""
        return "_".join(self.name.replace("-", " ").split())

    def text(self, score: float, digits: int = 2) -> str:
        """``score`` with its unit, as it is written in a sentence; ``digits`` after the point, where it has a unit."""
        if self.unit == "%":
            return f"{score:.{digits}%}"
        return f"{score:.{digits}f} {self.unit}" if self.unit else f"{score:.{digits + 2}g}"

    def difference(self, scores: float, sign: str = "") -> str:
        """A difference of two scores, of shares in points; with its sign if ``sign`` is "+"."""
        return f"{scores * self.factor:{sign}{'.2f' if self.unit else '.4g'}} {self.difference_unit}".rstrip()

    @property
    def difference_unit(self) -> str:
        """What differences of scores are counted in: points, of shares."""
        return "points" if self.unit == "%" else self.unit
