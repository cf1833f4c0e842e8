"""A vertical slider for each quantizer, side by side like an equalizer."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from qa_lib.bit_widths import Widths, check_limits
from qa_lib.checks import check_kind, shown
from qa_lib.errors import BitWidthError
from qa_lib.panel.fits import check_names, check_positions
from qa_lib.panel.groups import Groups, by_kind, in_blocks, layer_of, shortened
from qa_lib.panel.next_steps import NextSteps
from qa_lib.panel.scripts import script
from qa_lib.panel.subshell import answer_while_a_cell_runs
from qa_lib.panel.view import View
from qa_lib.plots.activation_histogram import ActivationHistogram
from qa_lib.sensitivities.table import SensitivityTable
from qa_lib.space import Space

# More levels than this are as good as all values.
_MOST_LEVELS = 64
FLOAT = 0  # how the view, which knows no None, says that a quantizer is switched off


class Equalizer(anywidget.AnyWidget, View):
    """A vertical slider for each quantizer, with groups, locks, and how much each layer minds each width.

    The sliders of a block stand together, under one handle, and can be folded; where there are more than fit, they scroll in a box of
    their own, below an overview of them all, and are found by name. Arrow keys lead from layer to layer ("?" lists the keys). A slider's top position, "float", switches its quantizer off, and so does its button. Locked ones are left alone by
    their slider and by groups; a whole setting that is loaded moves them, too. It measures nothing:
    ``on_move`` and ``on_release`` say what was asked for.

    Args:
        names: The quantizers, in order.
        types: The class of each one's module, shown under the name.
        num_bits_lower_limit: Lowest position of the sliders.
        num_bits_upper_limit: Highest position below "float".
        bit_widths: Where they begin; None is the upper limit everywhere.
        groups: Name of a group -> quantizers that one handle moves together; None takes the blocks.
        space: Which widths each slider stops at, and which move together; None allows all within the limits.
        weights: Which quantizers are those of weights: they stand below their layer's.

    Attributes:
        locked: Whether each quantizer is locked.
        selected: The name of the quantizer that was clicked; empty if none.
        dark: Whether the page around it is dark.
        page_width: How wide it is shown, in pixels; 0 before it is.
        page_height: How high the window around it is.
        views: How many pages and cells show it.

    Raises:
        BitWidthError: A limit or a width is not allowed.

    Example:
        >>> equalizer = Equalizer(["input", "conv1"])
        >>> equalizer.on_release(print)
        >>> widths = equalizer.release((8, 4))
        (8, 4)
    """

    _esm = script("elements.js", "equalizer.js")
    _css = script("elements.css", "equalizer.css")

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    blocks: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    types = traitlets.List(traitlets.Unicode()).tag(sync=True)
    lower = traitlets.Int(2).tag(sync=True)
    upper = traitlets.Int(8).tag(sync=True)
    bit_widths = traitlets.List(traitlets.Int()).tag(sync=True)
    moving = traitlets.List(traitlets.Int()).tag(sync=True)
    releases = traitlets.Int(0).tag(sync=True)
    locked = traitlets.List(traitlets.Bool()).tag(sync=True)
    allowed: traitlets.List[list[int]] = traitlets.List().tag(sync=True)
    tied: traitlets.List[list[int]] = traitlets.List().tag(sync=True)
    divergence: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    groups: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    below = traitlets.List(traitlets.Int()).tag(sync=True)
    suggested: traitlets.List[list[int]] = traitlets.List().tag(sync=True)
    selected = traitlets.Unicode("").tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
    page_width = traitlets.Int(0).tag(sync=True)
    page_height = traitlets.Int(0).tag(sync=True)
    views = traitlets.Int(0)

    def __init__(
        self,
        names: Sequence[str],
        *,
        types: Sequence[str] = (),
        num_bits_lower_limit: int = 2,
        num_bits_upper_limit: int = 8,
        bit_widths: Sequence[int | None] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        space: Space | None = None,
        weights: Collection[str] = (),
    ) -> None:
        names = check_names("names", names)
        lower, upper = check_limits(num_bits_lower_limit, num_bits_upper_limit)
        space = space or Space.of(names, (lower, upper))
        blocks = in_blocks(names, weights)
        short = {
            name: text for block, of in blocks for name, text in zip(of, shortened(of, block), strict=True)
        }
        super().__init__(
            names=list(names),
            labels=[short[name] for name in names],
            blocks=[{"name": block, "members": [names.index(name) for name in of]} for block, of in blocks],
            allowed=[list(widths) for widths in space.allowed],
            tied=[list(group) for group in space.groups if len(group) > 1],
            types=list(types) or [""] * len(names),
            lower=lower,
            upper=upper,
            locked=[False] * len(names),
            below=[
                names.index(layer_of(name, names)) if name in weights and layer_of(name, names) else -1
                for name in names
            ],
        )
        answer_while_a_cell_runs(self)
        self._hovered: list[Callable[[str], object]] = []
        self.on_msg(self._hear)
        self.set_groups(by_kind(names, weights) if groups is None else groups)
        self.load([upper] * len(names) if bit_widths is None else bit_widths)

    @property
    def widths(self) -> Widths:
        """Where the sliders were released; None is float."""
        return _with_none(self.bit_widths)

    def load(self, bit_widths: Sequence[int | None]) -> Widths:
        """Moves all sliders, the locked ones too; nobody is told.

        Raises:
            BitWidthError: There are more or fewer widths than sliders, or one is off their scale.
        """
        widths = check_positions(self.names, bit_widths, (self.lower, self.upper))
        self.bit_widths = [num_bits or FLOAT for num_bits in widths]
        return widths

    def release(self, bit_widths: Sequence[int | None]) -> Widths:
        """Moves the sliders as a hand does that lets go of them there."""
        widths = self.load(bit_widths)
        self.releases += 1
        return widths

    def lock(self, name: str, locked: bool = True) -> None:
        """Locks a quantizer, or unlocks it."""
        if name not in self.names:
            raise BitWidthError(f"there is no quantizer {name!r}; they are {', '.join(self.names)}")
        self.locked = [
            locked if each == name else before for each, before in zip(self.names, self.locked, strict=True)
        ]

    @property
    def locked_names(self) -> tuple[str, ...]:
        """The quantizers that are locked."""
        return tuple(name for name, locked in zip(self.names, self.locked, strict=True) if locked)

    def set_groups(self, groups: Mapping[str, Sequence[str]] | Groups) -> None:
        """Gives each group of quantizers, by name, a handle that moves all of them.

        Raises:
            BitWidthError: A group names a quantizer that does not exist.
        """
        check_kind(
            "groups",
            groups,
            Mapping,
            BitWidthError,
            "a mapping from the name of a group to names of quantizers",
        )
        for group, members in groups.items():
            check_names(f"group {shown(group)}", members, self.names)
        self.groups = [
            {"name": group, "members": [self.names.index(name) for name in members]}
            for group, members in groups.items()
        ]

    def show_setting(self, bit_widths: Widths) -> None:
        self.load(bit_widths)

    def show_steps(self, steps: NextSteps) -> None:
        found = [step for step in (steps.gain, steps.save) if step is not None]
        self.suggested = [
            [self.names.index(name), step.after or FLOAT] for step in found for name in step.layers
        ]

    def show_sensitivities(self, table: SensitivityTable) -> None:
        table.check_fits(self.names, ())
        found = dict(zip(table.widths, table.divergence.T, strict=True))
        none = np.zeros(len(self.names))  # where nothing is known, nothing is shown
        shown = [found.get(width, none) for width in range(self.lower, self.upper + 1)]
        self.divergence = np.column_stack(shown).tolist()

    def on_release(self, callback: Callable[[Widths], object]) -> None:
        """Calls back with the widths when a slider is let go of, though it may be where it was."""
        self.observe(lambda _: callback(self.widths), "releases")

    def on_move(self, callback: Callable[[Widths], object]) -> None:
        """Calls back with the widths, again and again, while a slider moves."""
        self.observe(lambda change: change["new"] and callback(_with_none(change["new"])), "moving")

    def on_select(self, callback: Callable[[str], object]) -> None:
        """Calls back with the name of a quantizer when it is clicked; empty when it is clicked again."""
        self.observe(lambda change: callback(change["new"]), "selected")

    def reveal(self, name: str) -> None:
        """Scrolls a quantizer into view, wherever it is folded or hidden."""
        self.send({"reveal": self.names.index(name)})

    def _hear(self, _: object, content: Any, buffers: object) -> None:
        self.views = max(0, self.views + content.get("views", 0))
        for callback in self._hovered if "hover" in content else ():
            callback(content["hover"])

    def on_hover(self, callback: Callable[[str], object]) -> None:
        """Calls back with the name of a quantizer that somebody points at, and rests."""
        self._hovered.append(callback)

    def show_histogram(self, data: ActivationHistogram) -> None:
        """Shows, beside the quantizer that is pointed at, what it sees, and its levels."""
        levels = [] if len(data.levels) > _MOST_LEVELS else data.levels.tolist()
        ends = [float(data.edges[0]), float(data.edges[-1])]
        found = {
            "name": data.name,
            "ends": ends,
            "counts": data.counts.tolist(),
            "levels": levels,
            "num_bits": data.num_bits,
        }
        self.send({"histogram": found | {"clipped": data.clipped}})

    def copy(self, text: str) -> None:
        """Puts ``text`` on the clipboard of whoever looks at it."""
        self.send({"copy": text})


def _with_none(positions: Sequence[int]) -> Widths:
    return tuple(None if position == FLOAT else position for position in positions)
