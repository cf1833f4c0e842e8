"""How far the outputs of a quantized network are from those of the float one; no labels needed."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from qa_lib.errors import CalibrationError

# (outputs, reference) -> 0 or more; smaller is better.
Divergence = Callable[[Tensor, Tensor], float]


def kullback_leibler(outputs: Tensor, reference: Tensor) -> float:
    """Kullback-Leibler divergence of the classes' probabilities from those of ``reference``.

    Args:
        outputs: Logits, shape ``(N, classes)``.
        reference: The float network's logits for the same images, same shape.

    Returns:
        The mean over the images, in nats, 0 or more; smaller is better.
    """
    expected, found = (torch.log_softmax(logits.double(), dim=1) for logits in (reference, outputs))
    shares = expected.exp()
    # A class that is ruled out (a logit of minus infinity) adds nothing.
    return float(torch.where(shares > 0, shares * (expected - found), 0.0).sum(dim=1).mean())


def mean_squared_error(outputs: Tensor, reference: Tensor) -> float:
    """Mean of the squared differences; smaller is better."""
    return float((outputs.double() - reference.double()).square().mean())


def output_divergence(outputs: Tensor, reference: Tensor) -> float:
    """``kullback_leibler`` where the outputs can be logits (two dimensions, two classes or more), otherwise
    ``mean_squared_error``. A regression of several values looks like logits: say ``mean_squared_error`` there."""
    logits = outputs.dim() == 2 and outputs.shape[1] > 1
    return kullback_leibler(outputs, reference) if logits else mean_squared_error(outputs, reference)


def diverges(divergence: Divergence, outputs: Tensor, reference: Tensor) -> float:
    """What ``divergence`` says; infinity where that is no number.

    Raises:
        CalibrationError: It raises, or returns something else than a number.
    """
    try:
        found = float(divergence(outputs, reference))
    except Exception as error:  # a user's own function may raise anything
        raise CalibrationError(
            "divergence has to take the outputs and the float network's outputs, and return a number; it "
            f"raised {type(error).__name__}: {error}"
        ) from error
    return math.inf if math.isnan(found) else found
