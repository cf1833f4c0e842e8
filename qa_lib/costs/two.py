"""Two costs at once, beside the score: three objectives."""

from collections.abc import Iterable
from dataclasses import dataclass

from qa_lib.bit_widths import Widths
from qa_lib.costs.cost import Cost


@dataclass(frozen=True)
class TwoCosts:
    """Two costs, both of which are minimised: a setting dominates another if it is no worse in the score and in each of them, and better in one.

    Where one number is asked for, it is the first.

    Attributes:
        first: What is on the axis.
        second: What colours tell.
    """

    first: Cost
    second: Cost

    @property
    def name(self) -> str:
        """That of the first."""
        return self.first.name

    @property
    def unit(self) -> str:
        """That of the first."""
        return self.first.unit

    @property
    def is_sum(self) -> bool:
        """Two numbers are no sum."""
        return False

    def __call__(self, bit_widths: Iterable[int | None]) -> float:
        return self.first(tuple(bit_widths))


def parts(cost: Cost) -> tuple[Cost, ...]:
    """The costs in ``cost``: itself, or both of two."""
    return (cost.first, cost.second) if isinstance(cost, TwoCosts) else (cost,)


def amounts(cost: Cost, bit_widths: Widths) -> tuple[float, ...]:
    """What a setting costs by each of ``parts``."""
    return tuple(float(each(bit_widths)) for each in parts(cost))
