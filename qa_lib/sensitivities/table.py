"""How much each layer at each width disturbs the output: the numbers, and the front that they add up to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from qa_lib.bit_widths import Widths, listed
from qa_lib.costs import Cost, cost_table, total_bits
from qa_lib.errors import DataError, SearchError
from qa_lib.sensitivities.additive_front import additive_front
from qa_lib.space import Space


@dataclass(frozen=True, eq=False)
class SensitivityTable:
    """The divergence of the outputs from the float ones with only one layer quantized.

    Attributes:
        names: The quantizers, in order.
        widths: The widths, smallest first.
        divergence: Shape ``(quantizers, widths)``; 0 is no difference, less is better.
        images: How many images it was found on.
        passes: What finding it has cost: whole forward passes over those images. An estimate; what the archive
            knew cost nothing.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    divergence: np.ndarray = field(repr=False)
    images: int
    passes: float = 0.0

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, whatever finding it has cost."""
        if not isinstance(other, SensitivityTable):
            return NotImplemented
        mine, theirs = ((t.names, t.widths, t.images, t.divergence.tolist()) for t in (self, other))
        return mine == theirs

    def to_frame(self) -> pd.DataFrame:
        """A row for each quantizer, a column for each width."""
        columns = pd.Index(self.widths, name="num_bits")
        return pd.DataFrame(self.divergence, index=pd.Index(self.names, name="layer"), columns=columns)

    def columns(self, bit_widths: np.ndarray) -> np.ndarray:
        """Where widths, integers of any shape, stand in ``widths``.

        Raises:
            SearchError: The table has no such width.
        """
        given, known = np.asarray(bit_widths).astype(int), np.array(self.widths)
        columns = np.searchsorted(known, given).clip(max=len(known) - 1)
        if missing := sorted(set(given[known[columns] != given].tolist())):
            raise SearchError(
                f"the sensitivities are for {listed(self.widths)} bits, and {listed(missing)} are asked for: "
                "sensitivity(qmodel, images, widths=...), with all of them"
            )
        return columns

    def check_fits(self, names: Sequence[str], widths: Iterable[int]) -> None:
        """Raises ``DataError`` unless it is of a model with these quantizers, ``SearchError`` unless it has these widths."""
        if tuple(names) != self.names:
            raise DataError(
                f"the sensitivities are those of another model: {len(self.names)} quantizers from {self.names[0]!r} to "
                f"{self.names[-1]!r}, and this one has {len(names)}, from {names[0]!r} to {names[-1]!r}; measure its own: "
                "sensitivity(qmodel, images)"
            )
        self.columns(np.array(list(widths)))

    def predicted_divergence(self, bit_widths: Iterable[int | None]) -> float:
        """The sum over the layers: an estimate that knows nothing of how layers act on one another."""
        columns = self.columns(np.array(list(bit_widths)))
        return float(self.divergence[np.arange(len(self.names)), columns].sum())

    def front(
        self, cost: Cost = total_bits, limits: tuple[int, int] | None = None, *, space: Space | None = None
    ) -> list[Widths]:
        """The settings that trade ``predicted_divergence`` against ``cost`` best, cheapest first, by dynamic
        programming: exact for the sum, and a sum is all it knows.

        Args:
            cost: A sum over the quantizers; less is better.
            limits: Smallest and largest width to use; None for all.
            space: Which widths each may have, and which share one; None for all within the limits.

        Raises:
            SearchError: The table lacks one of the limits.
            NotASumError: The cost is not a sum over the quantizers.
        """
        if space is None:
            lower, upper = limits or (self.widths[0], self.widths[-1])
            within = [width for width in self.widths if lower <= width <= upper]
            space = Space.of(self.names, (lower, upper), widths=within if limits is None else None)
        costs = cost_table(cost, len(self.names), self.widths)
        by_group = []
        for group in space.groups:
            # As many columns for all: the last choice again where there are fewer.
            columns = self.columns(np.array(space.allowed[group[0]]))
            columns = np.pad(columns, (0, len(self.widths) - len(columns)), mode="edge")
            loss, price = (each[list(group)].sum(axis=0)[columns] for each in (self.divergence, costs))
            by_group.append((loss, price, columns))
        loss, cost_of, columns_of = (np.array(each) for each in zip(*by_group, strict=True))
        found: list[Widths] = []
        for row in additive_front(loss, cost_of).choices:
            setting = [0] * len(self.names)
            for group, columns, choice in zip(space.groups, columns_of, row, strict=True):
                for index in group:
                    setting[index] = self.widths[columns[choice]]
            found.append(tuple(setting))
        return found
