"""The present setting and two others side by side: where they differ, what that costs and gains, and which classes feel it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import ipywidgets
from torch import Tensor

from qa_lib.bit_widths import Widths
from qa_lib.costs import FLOAT_BITS, Cost, known_amount, total_bits
from qa_lib.evaluation.evaluation import Evaluation
from qa_lib.panel.fits import NOW, SIDES, check_side
from qa_lib.panel.view import View
from qa_lib.plots import style

COLOURS = dict(zip((*SIDES, NOW), (style.FRONT, style.UNIFORM, style.CHOSEN), strict=True))


@dataclass(frozen=True)
class Held:
    """A setting that is held up for comparison.

    Attributes:
        evaluation: What it scored.
        classes: Right answers and images of each class, shape ``(2, classes)``; None if there are none.
    """

    evaluation: Evaluation
    classes: Tensor | None


class Comparison(View):
    """A, B and the present setting side by side: bars for each layer, and a row for each class.

    Args:
        names: The quantizers, in order.
        class_names: What the classes are called; None numbers them.
        cost: What B costs more or saves is said in.

    Attributes:
        widget: What to show.
        held: ``"A"``, ``"B"`` and ``"now"`` -> what is held, as far as there is something.

    Example:
        >>> live, comparison = LiveEvaluator(evaluator), Comparison(qmodel.names)
        >>> comparison.show_held("A", live.evaluate([8] * 5), live.by_class([8] * 5))
        >>> comparison.summary()
        'Hold a setting as B to compare.'
    """

    def __init__(
        self, names: Sequence[str], class_names: Sequence[str] | None = None, cost: Cost = total_bits
    ) -> None:
        self.names, self.cost = tuple(names), cost
        self.class_names = class_names
        self.held: dict[str, Held] = {}
        self.widget = ipywidgets.HTML()
        self._show()

    def show_held(self, side: str, evaluation: Evaluation, by_class: Tensor | None) -> None:
        """Holds a setting as ``"A"``, ``"B"`` or ``"now"``, in place of what was held there.

        Raises:
            SearchError: ``side`` is something else.
        """
        if side != NOW:
            check_side(side)
        self.held = self.held | {side: Held(evaluation, by_class)}
        self._show()

    def show_predicted(self, bit_widths: Widths, score: float, state: str, error: float) -> None:
        if NOW in self.held and self.held[NOW].evaluation.bit_widths != bit_widths:
            self.held = {side: held for side, held in self.held.items() if side != NOW}
            self._show()

    def show_float(self, evaluation: Evaluation) -> None:
        self.held = {}
        self._show()

    @property
    def differing(self) -> tuple[str, ...]:
        """The quantizers that A and B give different widths; none before both are held."""
        if not self._both:
            return ()
        a, b = (self.held[side].evaluation.bit_widths for side in "AB")
        return tuple(name for name, x, y in zip(self.names, a, b, strict=True) if x != y)

    @property
    def _both(self) -> bool:
        return set(SIDES) <= set(self.held)

    def summary(self) -> str:
        """What B costs and gains against A, in words; what is missing before both are held."""
        missing = [side for side in "AB" if side not in self.held]
        if missing:
            return f"Hold a setting as {' and one as '.join(missing)} to compare."
        a, b = (self.held[side].evaluation for side in "AB")
        costs = (known_amount(self.cost, each.bit_widths) for each in (b, a))
        more, gained = next(costs) - next(costs), b.score - a.score
        unit = self.cost.unit or self.cost.name
        cost = (
            f"costs {more:.6g} {unit} more"
            if more > 0
            else f"saves {-more:.6g} {unit}"
            if more < 0
            else f"costs what nobody knows of {self.cost.name}"
            if math.isnan(more)
            else f"costs the same {self.cost.unit if self.cost == total_bits else self.cost.name}"
        )
        gain = (
            f"gains {a.scale.difference(gained)}"
            if gained > 0
            else f"loses {a.scale.difference(-gained)}"
            if gained
            else "scores the same"
        )
        layers = len(self.differing)
        return f"B {cost} and {gain}; they differ in {layers} of {len(self.names)} layers."

    def _show(self) -> None:
        parts = [f"<div style='line-height:1.5'><b>{escape(self.summary())}</b>{self._legend()}</div>"]
        if self.held:
            parts += [self._layers(), self._classes()]
        self.widget.value = "".join(parts)

    def _legend(self) -> str:
        texts = [
            f"<span style='color:{COLOURS[side]}'>■</span> {side}: {held.evaluation.text}, "
            f"{held.evaluation.total_bits} bits"
            for side, held in sorted(self.held.items())
        ]
        return "".join(f"<br>{text}" for text in texts)

    def _layers(self) -> str:
        widths = {side: held.evaluation.bit_widths for side, held in sorted(self.held.items())}
        largest = max([num_bits or 0 for row in widths.values() for num_bits in row] + [8])
        rows = []
        for index, name in enumerate(self.names):
            bars = "".join(_bar(side, row[index], largest) for side, row in widths.items())
            differs = len({row[index] for row in widths.values()}) > 1
            text = f"<b>{escape(name)}</b>" if differs else escape(name)
            rows.append(
                f"<tr style='opacity:{1 if differs or len(widths) < 2 else 0.55}'>"
                f"<td style='padding:0 8px 0 0;white-space:nowrap;font-family:monospace;font-size:11px'>{text}</td>"
                f"<td style='width:100%'>{bars}</td></tr>"
            )
        return _scrolling("num_bits of each layer", rows)

    def _classes(self) -> str:
        rows, names = [], self.class_names if self.class_names is not None else ()
        sides = [(s, h.classes.tolist()) for s, h in sorted(self.held.items()) if h.classes is not None]
        if not sides:
            return ""
        for index, images in enumerate(sides[0][1][1]):
            if not images:
                continue
            name = names[index] if index < len(names) else f"class {index}"
            shares = {side: right[index] / images for side, (right, _) in sides}
            cells = "".join(
                f"<td style='text-align:right;padding:0 6px;color:inherit'>{share:.1%}</td>"
                for share in shares.values()
            )
            change = ""
            if set(SIDES) <= set(shares):
                points = 100 * (shares["B"] - shares["A"])
                change = f"<td style='text-align:right;padding:0 6px'><b>{f'{points:+.1f}'.replace('-', '−')}</b></td>"
            rows.append(
                f"<tr><td style='padding:0 8px 0 0;white-space:nowrap'>{escape(str(name))}</td>{cells}{change}</tr>"
            )
        heads = "".join(f"<th style='text-align:right;padding:0 6px'>{side}</th>" for side, _ in sides)
        if set(SIDES) <= {side for side, _ in sides}:
            heads += "<th style='text-align:right;padding:0 6px'>B − A</th>"
        score = next(iter(self.held.values())).evaluation.scale.name
        return _scrolling(f"{escape(score)} of each class", [f"<tr><td></td>{heads}</tr>", *rows])


def _bar(side: str, num_bits: int | None, largest: int) -> str:
    share = min(1.0, (FLOAT_BITS if num_bits is None else num_bits) / largest)
    text = "float" if num_bits is None else num_bits
    return (
        "<div style='display:flex;align-items:center;height:9px;gap:4px;font-size:9px;line-height:9px'>"
        f"<div style='width:{80 * share:.1f}%;height:7px;background:{COLOURS[side]}'></div>{text}</div>"
    )


def _scrolling(title: str, rows: Sequence[str]) -> str:
    return (
        f"<div style='margin-top:6px;color:inherit'>{title}</div><div style='max-height:230px;overflow:auto' tabindex='0'>"
        f"<table style='border-collapse:collapse;width:100%;font-size:12px;line-height:1.35'>{''.join(rows)}</table></div>"
    )
