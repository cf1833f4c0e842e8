"""What one setting of the bit widths scored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from qa_lib.bit_widths import Widths
from qa_lib.costs import total_bits
from qa_lib.metrics import Scale


@dataclass(frozen=True)
class Evaluation:
    """What one setting of the bit widths scored on the search set.

    Attributes:
        bit_widths: ``num_bits`` of each quantizer, in order; None is float.
        images: Images that were shown to the model.
        search_images: Size of the search set.
        upper_bound: What the score can be at most; the score itself if all images were shown.
        estimate: The score if it was measured; otherwise a guess for ranking, at most ``upper_bound``: the images that were
            not shown count as the last batch did.
        seconds: Time of the forward passes, on one torch thread.
        sums: What each batch added to the metric's sums, in the evaluator's order: k numbers.
        fingerprint: What it was measured under, ``Evaluator.fingerprint``; "" if nobody recorded it.
        scale: How the score is called and written.
        divergences: How far each batch's outputs are from the float model's, summed over its images; empty if that was not measured.
        answered: Whether the archive answered it, so that nothing was run.
    """

    bit_widths: Widths
    images: int
    search_images: int
    upper_bound: float
    estimate: float
    seconds: float = field(default=0.0, compare=False)
    sums: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    fingerprint: str = field(default="", repr=False, compare=False)
    scale: Scale = field(default=Scale(), repr=False, compare=False)
    divergences: tuple[float, ...] = field(default=(), repr=False, compare=False)
    answered: bool = field(default=False, repr=False, compare=False)

    @property
    def complete(self) -> bool:
        """Whether the whole search set was shown; if not, it was stopped as hopeless."""
        return self.images == self.search_images

    @property
    def score(self) -> float:
        """What the metric makes of the whole search set: the accuracy, 0 to 1; higher is better. NaN if it was stopped: it
        was not measured then."""
        return self.upper_bound if self.complete else math.nan

    @property
    def divergence(self) -> float:
        """How far an image's outputs are from the float model's on average, in what the metric measures that by (for classes
        Kullback-Leibler divergence in nats); lower is better. NaN if it was stopped, or if nobody measured that."""
        return self.least_divergence if self.complete and self.divergences else math.nan

    @property
    def least_divergence(self) -> float:
        """What the divergence is at least, given the images that were shown; 0 if nobody measured it."""
        return math.fsum(self.divergences) / self.search_images

    @property
    def divergence_estimate(self) -> float:
        """The divergence if it was measured; otherwise a guess for ranking, at least ``least_divergence``: the images that were not
        shown count as the last batch did. NaN if nobody measured any."""
        if self.complete or not self.divergences:
            return self.divergence
        rest = 1 - self.images / self.search_images
        return self.least_divergence + rest * self.divergences[-1] * len(self.divergences) / self.images

    @property
    def text(self) -> str:
        """The score, or the bound of what was stopped, with its unit."""
        return self.scale.text(self.upper_bound)

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
