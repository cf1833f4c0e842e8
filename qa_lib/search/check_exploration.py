"""Whether what is given as a search's result is one."""

from typing import Any

from qa_lib.checks import check_kind
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
