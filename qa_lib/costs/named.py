"""Costs by name."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qa_lib.bit_widths import Widths
from qa_lib.checks import shown
from qa_lib.costs.bits import total_bits
from qa_lib.costs.cost import Cost, check_cost, named_cost
from qa_lib.costs.dataflow import Network
from qa_lib.costs.hardware import ActivationTraffic, BitOperations, PeakActivationMemory, WeightMemory
from qa_lib.costs.table import CostTable
from qa_lib.costs.two import TwoCosts, parts
from qa_lib.errors import SearchError

COSTS: dict[str, Callable[[Network], Cost]] = {
    "total_bits": lambda qmodel: total_bits,
    "activation_traffic": ActivationTraffic.of,
    "weight_memory": WeightMemory.of,
    "peak_activation_memory": PeakActivationMemory.of,
    "bit_operations": BitOperations.of,
}


def cost_of(qmodel: Network, cost: Any) -> Any:
    """``cost``; the name of one, or of a file with a table for ``CostTable``, becomes that of ``qmodel``; a list of two becomes ``TwoCosts``.

    Raises:
        SearchError: It is no name of a cost or of a table.
        NotCalibratedError: The cost rests on what the calibration shows.
        LayerError: The dataflow of the model is not known.
    """
    if isinstance(cost, (list, tuple)):
        if len(cost) not in (1, 2):
            raise SearchError(
                f"cost is {shown(cost)}; give one cost, or two in a list, and the rest as other_costs"
            )
        each = [named_cost(cost_of(qmodel, one)) for one in cost]
        return each[0] if len(each) == 1 or same(*each) else TwoCosts(*each)
    if isinstance(cost, str) and cost in COSTS:
        return COSTS[cost](qmodel)
    if isinstance(cost, Path) or (isinstance(cost, str) and cost.endswith(".csv")):
        return CostTable.from_csv(cost, qmodel.names)
    if isinstance(cost, str):
        raise SearchError(
            f"cost is {shown(cost)}; give one of {', '.join(COSTS)}, or the name of a table, energy.csv say"
        )
    return cost


def costs_of(qmodel: Network, costs: Any, settings: Iterable[Widths]) -> tuple[Cost, ...]:
    """``costs``, each as of ``cost_of``, that make a number of each of ``settings``; raises as that does."""
    if isinstance(costs, (str, Path)) or not isinstance(costs, Iterable):
        raise SearchError(f"other_costs is {shown(costs)}; give a list of costs, ['activation_traffic'], say")
    settings = list(settings)
    return tuple(checked(cost_of(qmodel, cost), settings) for cost in costs)


def checked(cost: Any, settings: Iterable[Widths]) -> Cost:
    """``cost`` if it, or both of two, make a number of each of ``settings``, as ``check_cost``."""
    settings = list(settings)
    each = [check_cost(one, settings) for one in parts(cost)]
    return each[0] if len(each) == 1 else cost


def distinct(costs: Iterable[Cost]) -> tuple[Cost, ...]:
    """``costs``, each once, in order; a user's own need not be hashable."""
    found: list[Cost] = []
    for cost in costs:
        if not any(same(cost, other) for other in found):
            found.append(cost)
    return tuple(found)


def same(one: Any, other: Any) -> bool:
    """Whether two costs are equal; those that cannot be compared (they hold arrays) are not."""
    try:
        return one is other or bool(one == other)
    except (TypeError, ValueError):
        return False
