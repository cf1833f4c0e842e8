"""Bit widths as they come in: checked, and made plain ints in the order of the quantizers."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import pandas as pd

from qa_lib.checks import shown
from qa_lib.errors import BitWidthError, SearchError

SMALLEST_NUM_BITS = 2  # one signed bit has no level beside zero
LARGEST_NUM_BITS = 16
WIDTHS = range(SMALLEST_NUM_BITS, LARGEST_NUM_BITS + 1)

# One width for each quantizer, in order; None is float.
Widths = tuple[int | None, ...]
BitWidths = Sequence[int | None] | Mapping[str, int | None]

# What tables say of a setting beside its widths.
FACTS = frozenset(
    ("fingerprint", "accuracy", "upper_bound", "images", "complete", "total_bits", "mean_bits", "feasible", "seconds")
)  # fmt: skip


def width_columns(names: Iterable[str], taken: Iterable[str] = ()) -> tuple[str, ...]:
    """The columns that tables have for the widths of the quantizers ``names``: these names, with "_bits" behind those that
    another column has, one of ``taken`` say."""
    names, columns, others = list(names), [], FACTS.union(taken)
    for name in names:
        column = name
        while column in others or (column != name and column in names):
            column += "_bits"
        columns.append(column)
    return tuple(columns)


def check_num_bits(num_bits: Any, where: str = "num_bits") -> int | None:
    """``num_bits`` as a plain int, or None for float.

    Args:
        num_bits: A whole number in 2..16 of any kind (numpy's and whole floats included), or None.
        where: What the value is called in the error message.

    Raises:
        BitWidthError: It is not a whole number, or out of range.
    """
    if num_bits is None:
        return None
    if getattr(num_bits, "ndim", None) == 0 and hasattr(num_bits, "item"):  # of a tensor or an array
        num_bits = num_bits.item()
    allowed = f"allowed are whole numbers from {SMALLEST_NUM_BITS} to {LARGEST_NUM_BITS}, or None for float"
    is_number = isinstance(num_bits, numbers.Real) and not isinstance(num_bits, bool)
    if not is_number:
        raise BitWidthError(f"{where} is {shown(num_bits)}; {allowed}")
    if not math.isfinite(num_bits) or num_bits != int(num_bits):
        raise BitWidthError(f"{where} is {num_bits}; {allowed}")
    if not SMALLEST_NUM_BITS <= num_bits <= LARGEST_NUM_BITS:
        raise BitWidthError(f"{where} is {int(num_bits)}; {allowed}")
    return int(num_bits)


def check_bit_widths(bit_widths: BitWidths, present: Mapping[str, int | None]) -> tuple[int | None, ...]:
    """``bit_widths`` as one plain int or None for each quantizer, in order.

    Args:
        bit_widths: One value for each quantizer; a mapping from names to the values to change; or a row of a table that has a
            column for each quantizer, in which missing is float.
        present: Name -> the width that a quantizer keeps if a mapping does not name it.

    Raises:
        BitWidthError: Too few, too many, unknown names, or widths that are not allowed.
    """
    if isinstance(bit_widths, (Mapping, pd.Series)):
        bit_widths = _by_name(bit_widths, present)
        unknown = [name for name in bit_widths if name not in present]
        if unknown:
            raise BitWidthError(
                f"bit_widths names {unknown}, which this model does not have; "
                f"its quantizers are {', '.join(present)}"
            )
        values = list((dict(present) | dict(bit_widths)).values())
    else:
        try:
            values = list(bit_widths)
            if isinstance(bit_widths, Set):
                raise TypeError
        except TypeError:
            raise BitWidthError(
                f"bit_widths is {shown(bit_widths)}; give a sequence with one value for each of the {len(present)} "
                f"quantizers, [8] * {len(present)} for the same in all, or a mapping from names to values"
            ) from None
    if len(values) != len(present):
        raise BitWidthError(
            f"bit_widths has {len(values)} values, but the model has {len(present)} "
            f"quantizers{' (input comes first)' if 'input' in present else ''}"
        )
    return tuple(
        check_num_bits(value, f"the width of '{name}'") for name, value in zip(present, values, strict=True)
    )


def _by_name(given: Mapping[str, Any] | pd.Series, present: Iterable[str]) -> dict[str, Any]:
    """The widths by the names of their quantizers, of a mapping as of a row of a table."""
    by_name, columns = dict(given.items()), dict(zip(present, width_columns(present), strict=True))
    is_row = isinstance(given, pd.Series) or not FACTS.isdisjoint(by_name)
    if is_row and set(columns.values()) <= set(by_name):
        by_name = {name: by_name[column] for name, column in columns.items()}
    return {name: None if is_row and pd.isna(value) else value for name, value in by_name.items()}


def listed(widths: Sequence[int]) -> str:
    """``widths``, smallest first, in words.

    Example:
        >>> listed([2, 3, 4]), listed([2, 4, 8]), listed([8])
        ('2 to 4', '2, 4 and 8', '8')
    """
    first, last = widths[0], widths[-1]
    if len(widths) > 2 and list(widths) == list(range(first, last + 1)):
        return f"{first} to {last}"
    return f"{', '.join(map(str, widths[:-1]))} and {last}" if len(widths) > 1 else str(first)


def check_limits(num_bits_lower_limit: Any, num_bits_upper_limit: Any) -> tuple[int, int]:
    """Both limits as plain ints; raises ``BitWidthError`` or ``SearchError`` if they are no range."""
    lower = check_num_bits(num_bits_lower_limit, "num_bits_lower_limit")
    upper = check_num_bits(num_bits_upper_limit, "num_bits_upper_limit")
    if lower is None or upper is None:
        raise SearchError("num_bits_lower_limit and num_bits_upper_limit have to be numbers, not None")
    if lower > upper:
        raise SearchError(f"num_bits_lower_limit is {lower} and num_bits_upper_limit is {upper}: swap them")
    return lower, upper
