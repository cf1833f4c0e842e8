"""What values that a forward pass makes are stored as tensors, and how long each lives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qa_lib.costs.dataflow import FLOAT, Dataflow, Products, StoredTensor


@dataclass
class Value:
    """A tensor that depends on the inputs.

    Attributes:
        made_in: The module in whose code it is made.
        inputs: The values that it is made of, by number.
        elements: Its numbers.
        floating: Whether these are floating-point numbers.
        by_number: Whether each is a function of one number, or the same numbers in another shape.
        products: Multiply-adds, numbers in the weights and operands, where it is made of such.
        site: The quantizer that writes it; empty if none does.
        weighted: Whether it is made with weights, or of products, that nobody has counted.
    """

    made_in: str
    inputs: list[int]
    elements: int
    floating: bool
    by_number: bool
    products: list[tuple[int, int, list[int]]] = field(default_factory=list)
    site: str = ""
    weighted: bool = False


@dataclass
class _Group:
    """Values that take one tensor's room: one that is made, and what is computed of it number by number."""

    name: str
    elements: int
    read: list[int]
    made: int
    site: str
    is_float: bool
    needed: int = 0
    members: list[int] = field(default_factory=list)


def dataflow_of(
    values: Sequence[Value],
    returned: Sequence[int],
    items: int,
    uncounted: tuple[str, ...],
    fixed: tuple[tuple[str, int], ...] = (),
) -> Dataflow:
    """The dataflow of a pass over ``items`` that has made ``values``, in order, and returned those with the numbers ``returned``."""
    users = _live_users(values, returned)
    groups: list[_Group] = []
    group_of: dict[int, int] = {}
    for number in sorted(users):
        value = values[number]
        if not value.floating:
            continue
        read = list(dict.fromkeys(group_of[n] for n in value.inputs if n in group_of))
        own = groups[read[0]] if len(read) == 1 and value.by_number else None
        if own is not None and (
            value.elements > own.elements or (value.site and not _may_write(own, users, number))
        ):
            own = None
        if own is None:
            is_float = bool(value.products) or value.weighted or not read
            own = _Group(value.made_in, value.elements, read, len(groups), "", is_float)
            groups.append(own)
            for index in read:
                groups[index].needed = own.made
        if value.site:
            own.site, own.elements = value.site, value.elements
        own.members.append(number)
        own.needed = max(own.needed, own.made)
        group_of[number] = own.made
    for number in returned:
        if number in group_of:
            groups[group_of[number]].needed = len(groups) - 1
    widest: list[tuple[str, ...]] = []
    for group in groups:
        passed_on = dict.fromkeys(q for index in group.read for q in widest[index])
        widest.append((group.site,) if group.site else (FLOAT,) if group.is_float else tuple(passed_on))
    stored = tuple(
        StoredTensor(g.site or g.name, g.elements // items, of, g.made, g.needed)
        for g, of in zip(groups, widest, strict=True)
    )
    products = tuple(
        Products(
            values[number].made_in,
            macs // items,
            weights,
            tuple(widest[group_of[n]] if n in group_of else (FLOAT,) for n in operands),
            groups[group_of[number]].site,
        )
        for number in group_of
        for macs, weights, operands in values[number].products
    )
    return Dataflow(stored, products, uncounted, fixed)


def _live_users(values: Sequence[Value], returned: Sequence[int]) -> dict[int, list[int]]:
    """Of each value that what is returned depends on, those that do and that are made of it."""
    users: dict[int, list[int]] = {number: [] for number in returned}
    for number in range(len(values) - 1, -1, -1):
        if number in users:
            for other in values[number].inputs:
                users.setdefault(other, []).append(number)
    return users


def _may_write(group: _Group, users: Mapping[int, Sequence[int]], number: int) -> bool:
    """Whether all that reads of ``group`` so far is what leads to the value ``number``: then it is that which is written."""
    inside = {*group.members, number}
    return not group.site and all(user in inside for member in group.members for user in users[member])
