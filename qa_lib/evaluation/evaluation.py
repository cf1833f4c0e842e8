"""What one setting of the bit widths scored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from qa_lib.bit_widths import Widths
from qa_lib.costs import total_bits


@dataclass(frozen=True)
class Evaluation:
    """What one setting of the bit widths scored on the search set.

    Attributes:
        bit_widths: ``num_bits`` of each quantizer, in order; None is float.
        correct: Right answers (highest logit is the label's) among the images that were shown.
        images: Images that were shown to the model.
        search_images: Size of the search set.
        seconds: Time of the forward passes, on one torch thread.
        block_counts: Right answers in each batch, in the evaluator's order.
    """

    bit_widths: Widths
    correct: int
    images: int
    search_images: int
    seconds: float = field(default=0.0, compare=False)
    block_counts: tuple[int, ...] = field(default=(), repr=False)

    @property
    def complete(self) -> bool:
        """Whether the whole search set was shown; if not, it was stopped as hopeless."""
        return self.images == self.search_images

    @property
    def accuracy(self) -> float:
        """Share of the search set that is right, 0 to 1; higher is better. NaN if it was stopped: it was
        not measured then."""
        return self.correct / self.search_images if self.complete else math.nan

    @property
    def upper_bound(self) -> float:
        """What the accuracy can be at most, 0 to 1: all images that were not shown count as right."""
        return (self.correct + self.search_images - self.images) / self.search_images

    @property
    def estimate(self) -> float:
        """The accuracy if it was measured. Otherwise a guess for ranking, at most ``upper_bound``: the
        images that were not shown count as the last batch did."""
        if self.complete or not self.block_counts:
            return self.upper_bound
        last = self.block_counts[-1] / (self.images / len(self.block_counts))
        return (self.correct + (self.search_images - self.images) * last) / self.search_images

    @property
    def total_bits(self) -> int:
        """Sum of the widths in bits, float counting 32; lower is better."""
        return total_bits(self.bit_widths)

    @property
    def mean_bits(self) -> float:
        """Bits of a quantizer on average; lower is better."""
        return self.total_bits / len(self.bit_widths)


def images_saved(evaluations: Sequence[Evaluation]) -> float:
    """The share of images, 0 to 1, that stopping early left out."""
    all_images = sum(evaluation.search_images for evaluation in evaluations)
    return 1 - sum(evaluation.images for evaluation in evaluations) / all_images if all_images else 0.0
