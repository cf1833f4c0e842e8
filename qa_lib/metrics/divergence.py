"""How far the outputs of a quantized network are from those of the float one; no labels needed."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from qa_lib.errors import CalibrationError

# (outputs, reference) -> 0 or more; smaller is better.
Divergence = Callable[[Tensor, Tensor], float]

# Numbers that are kept of the float model's outputs for an item; of dense outputs so many places.
_MOST_KEPT = 2**14


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


def keep_log_probabilities(logits: Any) -> Tensor | None:
    """The logarithms of the classes' probabilities, for ``item_divergences``; None if these are no logits.

    Args:
        logits: Shape ``(N, classes)``, or with an answer for each pixel or token ``(N, classes, ...)``.

    Returns:
        Half precision, shape ``(N, classes, places)``: all places, or evenly spread ones where all would take too much memory.
    """
    if not isinstance(logits, Tensor) or logits.dim() < 2 or not logits.is_floating_point():
        return None
    return torch.log_softmax(_some_places(logits).double(), dim=1).half()


def item_divergences(logits: Tensor, kept: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each item's classes from those that were ``kept`` of the float network, in nats, the mean over the
    places: shape ``(N,)``, float64, 0 or more."""
    # Normalized again: half precision has rounded them, and only probabilities are never closer than 0.
    expected, found = (torch.log_softmax(each.double(), dim=1) for each in (kept, _some_places(logits)))
    shares = expected.exp()
    each = torch.where(shares > 0, shares * (expected - found), 0.0).sum(dim=1)
    return each.clamp(min=0.0).mean(dim=1)


def keep_logits(logits: Any) -> Tensor | None:
    """Logits of several yes-or-no labels an item, shape ``(N, labels)``, in half precision, for ``item_label_divergences``."""
    return logits.half() if isinstance(logits, Tensor) and logits.is_floating_point() else None


def item_label_divergences(logits: Tensor, kept: Tensor) -> Tensor:
    """Kullback-Leibler divergence of each item's yes-or-no labels from those that were ``kept`` of the float network, in nats, summed
    over the labels: shape ``(N,)``, float64, 0 or more."""
    expected, found = kept.double(), logits.double()
    each = torch.zeros_like(found)
    for sign in (1.0, -1.0):
        share = torch.sigmoid(sign * expected)
        more = logsigmoid(sign * expected) - logsigmoid(sign * found)
        each += torch.where(share > 0, share * more, 0.0)
    return each.clamp(min=0.0).sum(dim=1)


def _some_places(logits: Tensor) -> Tensor:
    """The logits of the places that are kept, shape ``(N, classes, places)``."""
    places = logits.flatten(2) if logits.dim() > 2 else logits[:, :, None]
    return places[:, :, :: math.ceil(places.shape[1] * places.shape[2] / _MOST_KEPT)]


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
