"""Groups of quantizers that one hand moves together."""

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from qa_lib.errors import BitWidthError

# Name of a group -> its quantizers, in order.
Groups = dict[str, tuple[str, ...]]


def by_block(names: Sequence[str]) -> Groups:
    """The quantizers of each block together: those whose names are the same up to the first number, as in
    ``blocks.3.conv1`` and ``blocks.3.conv2``. What is alone in its block is in no group.

    Example:
        >>> by_block(["input", "blocks.0.conv1", "blocks.0.conv2"])
        {'blocks.0': ('blocks.0.conv1', 'blocks.0.conv2')}
    """
    blocks: dict[str, list[str]] = {}
    for name in names:
        blocks.setdefault(_block(name), []).append(name)
    return {block: tuple(members) for block, members in blocks.items() if len(members) > 1}


def _block(name: str) -> str:
    parts = name.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0] + 1]) if numbers else name


def by_kind(names: Sequence[str], weights: Collection[str]) -> Groups:
    """A group for each block of the activations; with ``weights`` among the ``names``, one of all these, too."""
    groups = by_block([name for name in names if name not in weights])
    return groups | {"all weights": tuple(name for name in names if name in weights)} if weights else groups


def by_pattern(
    names: Sequence[str], patterns: str | Sequence[str] | Mapping[str, str | Sequence[str]]
) -> Groups:
    """The quantizers whose names match a pattern together.

    Args:
        names: All quantizers, in order.
        patterns: Shell patterns such as ``*.conv1``, each of which makes a group; or a mapping from the name of a group to its
            pattern, or to several.

    Raises:
        BitWidthError: A pattern matches nothing.

    Example:
        >>> by_pattern(["input", "blocks.0.conv1", "blocks.1.conv1"], "*.conv1")
        {'*.conv1': ('blocks.0.conv1', 'blocks.1.conv1')}
    """
    if not isinstance(patterns, Mapping):
        patterns = {pattern: pattern for pattern in ([patterns] if isinstance(patterns, str) else patterns)}
    groups: Groups = {}
    for group, given in patterns.items():
        wanted = [given] if isinstance(given, str) else list(given)
        for pattern in wanted:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise BitWidthError(
                    f"pattern {pattern!r} matches no quantizer; they are {', '.join(names)}: '*.conv1', say, takes all whose "
                    "names end so"
                )
        groups[group] = tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in wanted))
    return groups
