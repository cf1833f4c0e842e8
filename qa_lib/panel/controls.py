"""The panel's buttons and fields, laid out; what they do is said by whoever connects them."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ipywidgets
import traitlets

from qa_lib.metrics import Scale
from qa_lib.panel.next_steps import NextSteps, Step
from qa_lib.panel.view import View


def button(text: str, tooltip: str, *, width: str = "auto") -> ipywidgets.Button:
    """A small button."""
    return ipywidgets.Button(
        description=text, tooltip=tooltip, layout=ipywidgets.Layout(width=width, margin="1px 2px")
    )


def row(*children: ipywidgets.Widget) -> ipywidgets.HBox:
    """Side by side, going on below where the page is narrow."""
    return ipywidgets.HBox(children, layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"))


def side_by_side(
    left: Sequence[ipywidgets.Widget], right: Sequence[ipywidgets.Widget], narrowest: int
) -> ipywidgets.HBox:
    """Two columns, one below the other where a column would have fewer than ``narrowest`` pixels."""
    half = ipywidgets.Layout(flex=f"1 1 {narrowest - 4}px", min_width="0", overflow="hidden")
    return ipywidgets.HBox(
        [ipywidgets.VBox(children, layout=half) for children in (left, right)],
        layout=ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start"),
    )


def descendants(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    """``widget``, and all that is in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from descendants(child)


def labelled(kind: type[ipywidgets.DOMWidget], label: str, width: str, **options: Any) -> Any:
    """A field of this ``kind`` with its label, as wide as both are."""
    style = {"description_width": "initial"}
    layout = ipywidgets.Layout(width=width, margin="1px 6px 1px 2px")
    return kind(description=label, style=style, layout=layout, **options)


class NumberField(ipywidgets.BoundedFloatText):
    """A field for a number; given none (NaN), it keeps the one that it has."""

    @traitlets.validate("value")
    def _validate_value(self, proposal: Any) -> float:
        return self.value if math.isnan(proposal["value"]) else super()._validate_value(proposal)


def field(label: str, width: str, value: str = "", placeholder: str = "") -> ipywidgets.Text:
    """A field for text."""
    made: ipywidgets.Text = labelled(ipywidgets.Text, label, width, value=value, placeholder=placeholder)
    return made


class Toolbar:
    """Undo, redo, reset, all at once, and the picks from the front.

    Args:
        widths: What all can be set to at once; None is float.
        score: What the field for the least score begins with.
        scale: How scores are called and written.
        sureness: Of a front that was checked on a hold-out set: how sure its intervals are, in words; None if there is none.

    Attributes:
        widget: What belongs under the sliders.
        all: Width -> the button that sets all to it.
    """

    def __init__(
        self, widths: Sequence[int | None], score: float, scale: Scale, sureness: str | None = None
    ) -> None:
        self.scale = scale
        self.undo = button("↶ undo", "back to the setting before")
        self.redo = button("↷ redo", "forward again")
        self.reset = button("reset", "back to the setting that the panel began with; locked layers stay")
        self.all = {
            num_bits: button(
                "float" if num_bits is None else str(num_bits),
                f"all that are not locked to {'float' if num_bits is None else f'{num_bits} bits'}",
                width="54px" if num_bits is None else "30px",
            )
            for num_bits in widths
        }
        self.knee = button("knee", "the front's point farthest above the line between its ends")
        self.cheapest = button("cheapest", f"the cheapest point of the front with this {scale.name}")
        shown = score * scale.factor
        limits = {"min": 0, "max": 100} if scale.unit == "%" else {"min": -1e300, "max": 1e300}
        self.least = labelled(
            NumberField, "at ≥", "106px", value=round(shown, 2) if scale.unit else float(f"{shown:.4g}"),
            step=0.5 if scale.unit else abs(shown) / 100, **limits,
        )  # fmt: skip
        all_at_once = [ipywidgets.Label("all to"), *self.all.values()]
        picks = [
            ipywidgets.Label("from the front:"),
            self.knee,
            self.cheapest,
            self.least,
            ipywidgets.Label(scale.unit),
        ]
        self.surest = button(
            "surest", f"the cheapest point that loses no more on the hold-out set, {sureness} sure"
        )
        most = 99.99 if scale.unit == "%" else 1e300
        self.drop = labelled(NumberField, "losing ≤", "130px", value=1.0, min=0, max=most, step=0.1)
        if sureness is not None:
            picks += [self.surest, self.drop, ipywidgets.Label(scale.difference_unit)]
        parts = [[self.undo, self.redo, self.reset], all_at_once, picks]
        for part in parts[:-1]:
            part[-1].layout.margin = "1px 22px 1px 2px"
        self.widget = row(*(child for part in parts for child in part))


class Suggestions(View):
    """What to do next: a button for each of the two steps.

    Args:
        take: Called with the step whose button is clicked.
        scale: How scores are called and written.
        unit: Of the cost.

    Attributes:
        widget: What to show.
        steps: What is suggested at present.
    """

    def __init__(self, take: Callable[[Step], object], scale: Scale, unit: str = "bits") -> None:
        self._unit, self._scale = unit, scale
        self.steps = NextSteps(None, None, known=False)
        self.gain = button("", "take this step; it is measured then")
        self.save = button("", "take this step; it is measured then")
        self.gain.on_click(lambda _: self.steps.gain and take(self.steps.gain))
        self.save.on_click(lambda _: self.steps.save and take(self.steps.save))
        note = ipywidgets.HTML("<i>Predicted, from what was measured so far; measured when taken.</i>")
        self.widget = ipywidgets.VBox(
            [ipywidgets.Label(f"The cheapest step that gains {scale.name}:"), self.gain,
             ipywidgets.Label(f"The step that saves most {unit} for what it loses:"), self.save, note]
        )  # fmt: skip
        self.show_steps(self.steps)

    def show_steps(self, steps: NextSteps) -> None:
        self.steps = steps
        for widget, step in ((self.gain, steps.gain), (self.save, steps.save)):
            nothing = (
                "nothing is known yet: wait, or search"
                if not steps.known
                else "none in sight: search, or unlock"
            )
            widget.description = _describe(step, self._unit, self._scale) if step else nothing
            widget.disabled = step is None


def _describe(step: Step, unit: str, scale: Scale) -> str:
    before, after = ("float" if num_bits is None else num_bits for num_bits in (step.before, step.after))
    return f"{step.layer}: {before} → {after}  ({step.cost:+g} {unit}, ≈ {scale.difference(step.score, '+')})"


def tabs(**children: Any) -> ipywidgets.Tab:
    """Pages by title; underscores in the titles are shown as blanks."""
    made = ipywidgets.Tab(list(children.values()))
    made.titles = [title.replace("_", " ") for title in children]
    return made
