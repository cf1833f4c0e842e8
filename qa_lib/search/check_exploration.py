"""Whether what is given as a search's result is one."""

from collections.abc import Mapping
from typing import Any

from qa_lib.checks import check_kind, shown
from qa_lib.costs import Cost, parts
from qa_lib.errors import SearchError
from qa_lib.search.exploration import Exploration


def check_one_cost(what: str, cost: Cost) -> None:
    """Raises ``SearchError`` if a search was by two costs: ``what`` shows one against the score."""
    if len(parts(cost)) > 1:
        first, second = (each.name for each in parts(cost))
        raise SearchError(
            f"{what} shows the score against one cost, and the search was by {first} and {second}: give exploration.counted_by(exploration.cost.first), or draw "
            "plot_objective_space(exploration)"
        )


def check_is_exploration(given: Any) -> None:
    """Raises ``SearchError`` unless ``given`` is an ``Exploration``."""
    check_kind("exploration", given, Exploration, SearchError, "what explore() returns")


def check_several(given: Any) -> Exploration:
    """The first of two or more searches by name, each with a front; raises ``SearchError`` if they are anything else."""
    if not isinstance(given, Mapping) or len(given) < 2:
        raise SearchError(f"explorations is {shown(given)}; give two or more by name")
    for name, each in given.items():
        check_is_exploration(each)
        if not each.front_evaluations:
            raise SearchError(f"the search {name!r} has found nothing feasible")
    first: Exploration = next(iter(given.values()))
    return first
