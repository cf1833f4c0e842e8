"""Whether what is given as a search's result is one."""

from typing import Any

from qa_lib.checks import check_kind
from qa_lib.errors import SearchError
from qa_lib.search.exploration import Exploration


def check_is_exploration(given: Any) -> None:
    """Raises ``SearchError`` unless ``given`` is an ``Exploration``."""
    check_kind("exploration", given, Exploration, SearchError, "what explore() returns")
