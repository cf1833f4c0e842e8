"""Where a setting stands in relation to a front."""

from collections.abc import Sequence
from dataclasses import dataclass

from qa_lib.costs import Cost, total_bits
from qa_lib.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Standing:
    """Where a setting stands in relation to the front.

    Attributes:
        on_front: Whether it is on it.
        dominated_by: The numbers of the front's points, from 1 on, that are better in one objective and no worse in the
            other.
        feasible: Whether it has the accuracy that is asked for.
    """

    on_front: bool
    dominated_by: tuple[int, ...]
    feasible: bool

    def __str__(self) -> str:
        if self.dominated_by:
            return f"dominated by {', '.join(f'#{number}' for number in self.dominated_by[:3])}" + (
                f" and {len(self.dominated_by) - 3} more" if len(self.dominated_by) > 3 else ""
            )
        if not self.feasible:
            return "below the accuracy that is asked for"
        return "on the front" if self.on_front else "beyond the front"


def standing(
    evaluation: Evaluation, front: Sequence[Evaluation], min_accuracy: float = 0.0, cost: Cost = total_bits
) -> Standing:
    """Where ``evaluation``, measured, stands in relation to ``front``."""
    own, better = cost(evaluation.bit_widths), []
    for number, other in enumerate(front, 1):
        costs = cost(other.bit_widths)
        as_good = other.accuracy >= evaluation.accuracy and costs <= own
        if as_good and (other.accuracy > evaluation.accuracy or costs < own):
            better.append(number)
    on_front = any(evaluation.bit_widths == other.bit_widths for other in front)
    return Standing(on_front, tuple(better), evaluation.accuracy >= min_accuracy)
