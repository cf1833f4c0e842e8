"""Groups of quantizers that one hand moves together, and how many of them stand on a page."""

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from qa_lib.errors import BitWidthError

# Name of a group -> its quantizers, in order.
Groups = dict[str, tuple[str, ...]]

# A part of a network with more quantizers than this is taken apart, where its names have more parts.
_LARGEST = 64
# What the toolkit calls the quantizer of a layer's input.
_TOOLKIT = "._input_quantizer"
# Longer names lose their first parts where there is little room.
_LONGEST = 14


def by_block(names: Sequence[str]) -> Groups:
    """The quantizers of each block together: those whose names are the same up to the first number, as in
    ``blocks.3.conv1`` and ``blocks.3.conv2``, or ``denseblock3.conv1``; where there is no number, those in the same part of the module
    tree, 64 at most. What is alone in its block is in no group.

    Example:
        >>> by_block(["input", "blocks.0.conv1", "blocks.0.conv2", "head.norm", "head.fc"])
        {'blocks.0': ('blocks.0.conv1', 'blocks.0.conv2'), 'head': ('head.norm', 'head.fc')}
    """
    below: dict[str, int] = {}
    for name in names:
        for block in _ancestors(name):
            below[block] = below.get(block, 0) + 1
    blocks: dict[str, list[str]] = {}
    for name in names:
        blocks.setdefault(_block(name, below), []).append(name)
    return {block: tuple(members) for block, members in blocks.items() if len(members) > 1}


def _ancestors(name: str) -> list[str]:
    """The modules that a module is in, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _block(name: str, below: Mapping[str, int]) -> str:
    ancestors = _ancestors(name)
    numbered = [block for block in ancestors if block.rpartition(".")[2].isdigit()]
    counted = [block for block in ancestors if block[-1].isdigit() and below[block] > 1]
    small = [block for block in ancestors if below[block] <= _LARGEST]
    return next(iter(numbered or counted or small or ancestors[-1:]), name)


def in_blocks(names: Sequence[str], weights: Collection[str] = ()) -> list[tuple[str, tuple[str, ...]]]:
    """All ``names`` in the order in which they stand on a page: those of a block together, by its name; what is in none, as long as
    one follows the other, without a name. A weight belongs to its layer's block."""
    groups = by_block([name for name in names if name not in weights])
    found = {member: block for block, members in groups.items() for member in members}
    found |= {name: found.get(layer_of(name, names), "") for name in weights}
    blocks: list[tuple[str, list[str]]] = []
    for name in names:
        block = found.get(name, "")
        there = next((members for called, members in blocks if block and called == block), None)
        if there is None and not block and blocks and not blocks[-1][0]:
            there = blocks[-1][1]
        if there is None:
            blocks.append((block, [name]))
        else:
            there.append(name)
    return [(block, tuple(members)) for block, members in blocks]


def layer_of(weight: str, names: Sequence[str]) -> str:
    """The quantizer whose column that of a ``weight`` stands below: the one of its layer's output, or input; "" if there is none."""
    layer = weight.removesuffix(".weight").removesuffix("._weight_quantizer")
    return next((name for name in (layer, layer + _TOOLKIT) if name in names), "")


def shortened(members: Sequence[str], block: str = "") -> tuple[str, ...]:
    """The names of a block's ``members`` without the block's, for a narrow place; where they are still long, the last parts that tell them
    apart, or no more than the end.

    Example:
        >>> shortened(["layer.0.attention.self.query", "layer.0.attention.self.key", "layer.0.dense"], "layer.0")
        ('…query', '…key', 'dense')
    """
    inside = [name.removeprefix(f"{block}.").removesuffix(_TOOLKIT) for name in members]

    def last(name: str, parts: int) -> str:
        return ".".join(name.split(".")[-parts:])

    def short(name: str) -> str:
        if len(name) <= _LONGEST:
            return name
        counts = range(1, len(name.split(".")))
        alone = (n for n in counts if sum(last(other, n) == last(name, n) for other in inside) == 1)
        parts = next(alone, None)
        found = name if parts is None else f"…{last(name, parts)}"
        return found if len(found) <= _LONGEST else f"…{found[1 - _LONGEST :]}"

    return tuple(short(name) for name in inside)


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
