"""The exact Pareto front of what adds up over the layers, by dynamic programming."""

from dataclasses import dataclass

import numpy as np

from qa_lib.errors import SearchError

# Partial sums that are carried from layer to layer. Sums of bits never come near it.
MOST_LABELS = 20_000


@dataclass(frozen=True)
class AdditiveFront:
    """The choices that no other dominates, cheapest first.

    Attributes:
        choices: Which column is taken in each layer, integers of shape ``(solutions, layers)``.
        losses: Sum of the losses of each solution, strictly decreasing.
        costs: Sum of the costs of each solution, strictly increasing.
    """

    choices: np.ndarray
    losses: np.ndarray
    costs: np.ndarray


def additive_front(losses: np.ndarray, costs: np.ndarray, most_labels: int = MOST_LABELS) -> AdditiveFront:
    """All best trade-offs between a loss and a cost that are both sums over the layers.

    Carries the non-dominated partial sums from layer to layer. Exact, as long as there are no more than
    ``most_labels`` of them: beyond that the range of costs is cut into so many parts, and of each the sum with the
    least loss goes on.

    Args:
        losses: Loss of each choice in each layer, shape ``(layers, choices)``; less is better.
        costs: Cost of the same, same shape; less is better.
        most_labels: Partial sums to carry.

    Raises:
        SearchError: The shapes differ, there is no layer or choice, or a number is not finite.
    """
    losses, costs = np.asarray(losses, float), np.asarray(costs, float)
    if losses.shape != costs.shape or losses.ndim != 2 or not losses.size:
        raise SearchError(
            f"losses have shape {losses.shape} and costs {costs.shape}; give one of each for every layer and choice"
        )
    if not (np.isfinite(losses).all() and np.isfinite(costs).all()):
        raise SearchError("losses and costs have to be finite numbers")
    sums = np.zeros((1, 2))  # cost, loss
    steps = []
    for loss, cost in zip(losses, costs, strict=True):
        grown = (sums[:, None, :] + np.column_stack([cost, loss])[None]).reshape(-1, 2)
        kept = _thin(grown, _non_dominated(grown), most_labels)
        steps.append(np.divmod(kept, len(loss)))  # the partial sum that it comes from, and the choice
        sums = grown[kept]
    choices = np.empty((len(sums), len(losses)), int)
    at = np.arange(len(sums))
    for layer in range(len(losses) - 1, -1, -1):
        parents, chosen = steps[layer]
        choices[:, layer] = chosen[at]
        at = parents[at]
    return AdditiveFront(choices, losses=sums[:, 1], costs=sums[:, 0])


def _non_dominated(sums: np.ndarray) -> np.ndarray:
    """Indices of the (cost, loss) pairs that no other dominates, cheapest first; one of those that are equal."""
    order = np.lexsort((sums[:, 1], sums[:, 0]))
    loss = sums[order, 1]
    least_before = np.concatenate([[np.inf], np.minimum.accumulate(loss)[:-1]])
    return order[loss < least_before]


def _thin(sums: np.ndarray, kept: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of ``kept``, which are the cheapest first: the last, best one of each part of the costs."""
    if len(kept) <= most:
        return kept
    cost = sums[kept, 0]
    part = np.floor((cost - cost[0]) / (cost[-1] - cost[0]) * (most - 1))
    return kept[np.append(part[1:] != part[:-1], True)]
