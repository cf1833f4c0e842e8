"""The buttons of a search that is begun from the panel."""

from collections.abc import Callable
from typing import Any

import ipywidgets

from qa_lib.panel.controls import NumberField, button, labelled, row
from qa_lib.panel.searching import PASSES, Search
from qa_lib.panel.view import View
from qa_lib.sensitivities.table import SensitivityTable


class SearchControls(View):
    """A button that begins a search, one that stops it, and how far it is.

    Args:
        search: What they begin and stop.
        guarded: Wraps what a hand does, so that what it raises is shown.

    Attributes:
        widget: What to show.
    """

    def __init__(
        self, search: Search, guarded: Callable[[Callable[[Any], object]], Callable[[Any], None]]
    ) -> None:
        self.search = search
        self.begin = button("search", "let NSGA-II search with these limits; locked layers stay as they are")
        self.stop = button("stop", "end the search; what was measured stays")
        self.passes = labelled(
            NumberField, "full passes", "150px", value=PASSES, min=search.least_passes, max=1e6, step=10
        )
        self._say_least()
        self.seed = labelled(ipywidgets.BoundedIntText, "seed", "100px", value=1, min=0, max=2**31 - 1)
        self.bar = ipywidgets.FloatProgress(
            0.0, min=0.0, max=1.0, layout=ipywidgets.Layout(width="160px", visibility="hidden"), tooltip="how far the search is"
        )  # fmt: skip
        self.text = ipywidgets.Label()
        self.begin.on_click(guarded(lambda _: search.begin(self.passes.value, self.seed.value)))
        self.stop.on_click(guarded(lambda _: search.stop()))
        self.stop.disabled = True
        about = ipywidgets.HTML(
            "<div style='line-height:1.4'>NSGA-II looks for settings that no other beats, within the sliders' limits; locked layers stay. It measures beside you, and "
            "what it finds is drawn as it comes. One full pass is one look at the whole search set.</div>"
        )
        self.widget = ipywidgets.VBox(
            [about, row(self.begin, self.passes, self.seed, self.stop),
             row(self.bar, self.text)]
        )  # fmt: skip

    def show_sensitivities(self, table: SensitivityTable) -> None:
        self.passes.min = self.search.least_passes
        self._say_least()

    def _say_least(self) -> None:
        self.passes.tooltip = (
            f"passes over the search set that it may cost, {self.passes.min:g} or more; it ends with the generation in which they are used "
            "up, and the first one alone may take some 20"
        )

    def show_search(self, text: str, share: float | None) -> None:
        self.text.value = text
        self.begin.disabled, self.stop.disabled = share is not None, share is None
        self.bar.layout.visibility = "hidden" if share is None else "visible"
        self.bar.value = share or 0.0
