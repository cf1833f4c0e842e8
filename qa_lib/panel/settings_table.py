"""The settings that were measured, as a table to sort, to search, and to put on the sliders."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import traitlets

from qa_lib.bit_widths import Widths
from qa_lib.costs import Cost, amount, counted_in, known_amount, name_and_unit
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.points import Points
from qa_lib.panel.scripts import script
from qa_lib.panel.subshell import answer_while_a_cell_runs
from qa_lib.panel.view import View
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.pareto import Standing

_FLOAT = "f"
# Below all numbers that a page can be told.
_LEAST = -1e300


class SettingsTable(anywidget.AnyWidget, View):
    """A row for each setting of the front and each uniform width, or for all that was measured: the score, what is expected, the costs,
    and the widths. It is told what is new while somebody looks at it.

    Args:
        points: What it shows.
        checked: What settings are worth on a hold-out set, if that is known.

    Attributes:
        everything: Whether settings that others beat are shown, too.
        looking: Whether a page shows it.
        rows: What a page shows: cells, each a number to sort and compare by and a text, and the widths.

    Example:
        >>> table = SettingsTable(Points())
        >>> table.on_load(print)
        >>> table.columns
        ['setting', 'accuracy', 'expected', 'total bits']
    """

    _esm = script("elements.js", "settings_table.js")
    _css = script("elements.css", "settings_table.css")

    columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rows: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    present = traitlets.Unicode("").tag(sync=True)
    everything = traitlets.Bool(False).tag(sync=True)
    looking = traitlets.Bool(False).tag(sync=True)

    def __init__(self, points: Points, checked: CheckedFront | None = None) -> None:
        self.points, self._held_out = points, None if checked is None else checked.texts()
        self._callbacks: list[Callable[[Widths], object]] = []
        columns = ["setting", points.scale.name, "expected", *map(name_and_unit, points.costs)]
        super().__init__(columns=[*columns, *(["on the hold-out set"] if checked is not None else [])])
        answer_while_a_cell_runs(self)
        self.on_msg(self._hear)
        self.observe(lambda _: self.show_points(), ["everything", "looking"])

    def on_load(self, callback: Callable[[Widths], object]) -> None:
        """Calls back with the widths of a setting that is to be put on the sliders."""
        self._callbacks.append(callback)

    def show_float(self, evaluation: Evaluation) -> None:
        if self._held_out is not None:
            self._held_out = {}

    def show_points(self) -> None:
        if not self.looking:
            return
        points = self.points
        everywhere = {
            e.bit_widths: f"{n} everywhere"
            for n, e in zip(points.uniform_num_bits, points.uniform, strict=True)
        }
        front = {e.bit_widths: e for e in points.front}
        shown = [
            (", ".join(filter(None, [f"#{number}", everywhere.get(widths)])), e)
            for number, (widths, e) in enumerate(front.items(), 1)
        ]
        shown += [(everywhere[e.bit_widths], e) for e in points.uniform if e.bit_widths not in front]
        if self.everything:
            for name, others in zip(("beaten", "infeasible"), points.beside_the_front(), strict=True):
                shown += [(name, e) for e in others if e.bit_widths not in {*front, *everywhere}]
        self.rows = [self._row(order, text, e) for order, (text, e) in enumerate(shown)]

    def show_measured(self, evaluation: Evaluation, standing: Standing) -> None:
        self.present = _text(evaluation.bit_widths)

    def show_setting(self, bit_widths: Widths) -> None:
        self.present = _text(bit_widths)

    def _row(self, order: int, text: str, evaluation: Evaluation) -> dict[str, Any]:
        points, widths = self.points, evaluation.bit_widths
        scale, expected = points.scale, points.expected_score(evaluation)
        known = not math.isnan(expected)
        cells: list[tuple[float, str]] = [
            (order, text),
            (evaluation.score * scale.factor, evaluation.text),
            (
                expected * scale.factor if known else _LEAST,
                f"{scale.text(expected)} (estimate)" if known else "",
            ),
            *(_number_and_text(cost, widths) for cost in points.costs),
        ]
        if self._held_out is not None:
            cells.append((order, self._held_out.get(widths, "")))
        return {"cells": [list(cell) for cell in cells], "widths": _text(widths)}

    def _hear(self, _: object, content: Any, buffers: object) -> None:
        if "load" in content:
            widths = _widths(content["load"].split())
            for callback in self._callbacks:
                callback(widths)


def _number_and_text(cost: Cost, widths: Widths) -> tuple[float, str]:
    found = known_amount(cost, widths)
    text = amount(cost, widths).removesuffix(counted_in(cost)).strip()
    return (found if abs(found) < -_LEAST else -_LEAST), text


def _text(widths: Widths) -> str:
    return " ".join(_FLOAT if num_bits is None else str(num_bits) for num_bits in widths)


def _widths(texts: Sequence[str]) -> Widths:
    return tuple(None if text == _FLOAT else int(text) for text in texts)
