"""Whether what a session is given belongs to its model."""

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np
from torch import Tensor

from qa_lib.batches.structure import take
from qa_lib.bit_widths import Widths, check_num_bits
from qa_lib.checks import check_kind, shown
from qa_lib.errors import BitWidthError, DataError, QAError, SearchError
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.evaluation.evaluator import Evaluator
from qa_lib.panel.points import Points
from qa_lib.quantization.running import run_float
from qa_lib.search.exploration import Exploration
from qa_lib.sensitivities.table import SensitivityTable

SIDES = ("A", "B")
# What the present setting is called beside them.
NOW = "now"
# Of the quantizers that a sentence is about.
_NAMED = 3


def check_side(side: str) -> None:
    """Raises ``SearchError`` unless ``side`` is one of the two that a setting can be held as."""
    if not isinstance(side, str) or side not in SIDES:
        raise SearchError(f"there is an A and a B to hold a setting as, and no {shown(side)}")


def check_settled(evaluation: Evaluation, bit_widths: Widths, *, ours: bool) -> Evaluation:
    """``evaluation`` if it is that of the setting ``bit_widths`` and of the model as it is (``ours``); raises ``SearchError`` if not."""
    if not ours:
        raise SearchError(
            "the model has changed since this was measured, by a calibration say, and is measured anew: wait for the new number, and "
            "do it again"
        )
    if evaluation.bit_widths != bit_widths:
        raise SearchError(
            "the setting on the sliders is not measured yet: wait for the number, or move a slider"
        )
    return evaluation


def check_positions(
    names: Sequence[str], bit_widths: Sequence[int | None], limits: tuple[int, int]
) -> Widths:
    """``bit_widths`` if there is one for each slider, and each is on its scale; raises ``BitWidthError`` if not."""
    check_kind(
        "bit_widths", bit_widths, (Sequence, np.ndarray, Tensor), BitWidthError, "one width for each slider"
    )
    (lower, upper), widths = limits, tuple(check_num_bits(num_bits) for num_bits in bit_widths)
    if len(widths) != len(names):
        raise BitWidthError(f"there are {len(widths)} widths for {len(names)} sliders")
    for name, num_bits in zip(names, widths, strict=True):
        if num_bits is not None and not lower <= num_bits <= upper:
            raise BitWidthError(
                f"the width of '{name}' is {num_bits}, and the sliders go from {lower} to {upper} or to float (None): make the "
                "panel with wider limits, or change the width"
            )
    return widths


def beyond_sliders(names: Sequence[str], bit_widths: Widths, limits: tuple[int, int]) -> str:
    """What the sliders cannot show of the ``bit_widths`` that the model has, and what to do about it; empty if they can show all."""
    lower, upper = limits
    pairs = zip(names, bit_widths, strict=True)
    beyond = [f"{name} {n}" for name, n in pairs if n is not None and not lower <= n <= upper]
    if not beyond:
        return ""
    more = f" and {len(beyond) - _NAMED} more" if len(beyond) > _NAMED else ""
    return (
        f"the model has widths now that these sliders, from {lower} to {upper}, cannot show ({', '.join(beyond[:_NAMED])}{more}): let go of "
        "a slider here to give it those that they show, or make the panel with wider limits"
    )


def check_exploration(
    exploration: Exploration | None,
    table: SensitivityTable | None,
    names: tuple[str, ...],
    float_evaluation: Evaluation,
) -> None:
    """Raises ``DataError`` if they are another model's or, as far as that shows, another search set's."""
    give = "what explore() and sensitivity() return, or None"
    check_kind("exploration", exploration, (Exploration, NoneType), DataError, give)
    check_kind("sensitivities", table, (SensitivityTable, NoneType), DataError, give)
    if exploration is not None:
        if exploration.names != names:
            raise DataError(
                f"the exploration is one of another model: it has {len(exploration.names)} quantizers, this one has "
                f"{len(names)}; explore this one"
            )
        theirs, ours = exploration.float_evaluation, float_evaluation
        if theirs != ours:
            raise DataError(
                f"the exploration was measured on other images or weights: its float model has {theirs.text}, this one "
                f"{ours.text}; explore again"
            )
        if theirs.fingerprint not in (ours.fingerprint, ""):
            raise DataError(
                "the exploration is from before a calibration or another change of the model, or from another machine: explore again"
            )
    if table is not None:
        table.check_fits(names, table.widths)


def check_beside(beside: Any, points: Points) -> dict[str, Exploration]:
    """``beside`` if its searches have the score and the cost of ``points``; raises ``DataError`` if not."""
    what = "a mapping from names to what explore() returned, {'by maximum': exploration} say"
    check_kind("beside", beside, Mapping, DataError, what)
    for name, other in beside.items():
        check_kind(f"beside[{name!r}]", other, Exploration, DataError, "what explore() returns")
        theirs, ours = (other.scale.name, other.cost.name), (points.scale.name, points.cost.name)
        if theirs != ours:
            raise DataError(
                f"beside[{name!r}] is a search for {theirs[0]} over {theirs[1]}, and here is {ours[0]} over {ours[1]}: they share no axes"
            )
    return {str(name): other for name, other in beside.items()}


def check_class_names(class_names: Any, evaluator: Evaluator) -> tuple[str, ...] | None:
    """``class_names`` as a tuple, None for none; raises ``DataError`` unless there is one for each class that the model tells apart."""
    names = () if class_names is None else check_names("class_names", class_names, error=DataError)
    if not names:
        return None
    inputs, targets = (take(each, slice(0, 1)) for each in evaluator.search_set.batches[0])
    by_class = evaluator.metric.by_class(run_float(evaluator.qmodel, inputs), targets)
    if by_class is not None and by_class.shape[1] != len(names):
        raise DataError(
            f"there are {len(names)} class_names, and the model has {by_class.shape[1]} classes: give a name for each"
        )
    return names


def check_names(
    what: str, given: Any, known: Sequence[str] | None = None, error: type[QAError] = BitWidthError
) -> tuple[str, ...]:
    """``given`` as a tuple; raises ``error`` unless it is a sequence of text, all of them ``known`` if that is given."""
    if (
        isinstance(given, (str, bytes))
        or not isinstance(given, Sequence)
        or not all(isinstance(n, str) for n in given)
    ):
        raise error(f"{what} is {shown(given)}; give a list of names")
    if unknown := [name for name in given if known is not None and name not in known]:
        raise error(f"{what} names {shown(unknown)}; the quantizers are {shown(list(known or ()))}")
    return tuple(given)
