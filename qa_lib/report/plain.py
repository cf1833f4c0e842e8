"""What the page says without a script: its sentences, the table of the front, the sensitivities and how it was made, as HTML."""

import html
import itertools
from collections.abc import Callable, Iterable
from functools import partial

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex, to_rgb

from qa_lib.report.record import Point, Report
from qa_lib.report.wording import amount, digits, own_cost, step, widths_of, written

# Longer descriptions are folded away.
_LONG = 300
# Of the largest divergence: below this share, all is as good as nothing.
_LEAST_SHARE = 1e-5


def summary(data: Report) -> str:
    """What the front reaches, in two sentences."""
    images = f"{data.search_images:,} images"
    if not data.front:
        return f"The float model has {written(data, data.baseline.score)} on {images}."
    first, last = data.front[0], data.front[-1]
    settings = "1 setting" if len(data.front) == 1 else f"{len(data.front):,} settings"
    unit = f" {data.cost_unit}" if own_cost(data) else ""
    return (
        f"{settings} on the Pareto front, from {written(data, first.score)} at {amount(first.cost)} {data.cost_unit} to "
        f"{written(data, last.score)} at {amount(last.cost)}{unit}. "
        f"The float model has {written(data, data.baseline.score)} on the same {images}."
    )


def notice(data: Report) -> str:
    """What to know if nothing is feasible; empty if something is."""
    if data.nearest is None or data.min_score is None:
        return ""
    by = " by what is expected" if data.nearest.score >= data.min_score else ""
    return (
        f"Nothing that was measured reaches the minimum {data.score} of {written(data, data.min_score)}, so there is no front. The "
        f"nearest has {written(data, data.nearest.score)}, {digits(data, data.shortfall)}{step(data)} short{by}, at "
        f"{amount(data.nearest.cost)} {data.cost_unit}; its widths are {' '.join(map(str, widths_of(data.nearest)))}."
    )


def measured(data: Report) -> str:
    """Which numbers were measured, and on what."""
    every = f"Every {data.score}{' but the expected one, an estimate,' if data.expected else ''}"
    there = f" (of the hold-out set: on its {data.held_out_items:,} items)" if data.held_out else ""
    elsewhere = (
        "; those of the hold-out set chose nothing"
        if data.held_out
        else ", so check what you take from it on others"
    )
    alone = (
        f"The sensitivities were measured too, on {data.sensitivities['images']:,} images and one layer at a time; that they "
        "foretell how layers behave together is an assumption."
        if data.sensitivities
        else "The search had no sensitivities."
    )
    return (
        f"{every} on this page was measured, on all {data.search_images:,} images of the search set{there}, with the quantizers in "
        f"place. Candidates that were stopped early have no score and appear nowhere as points. The front was chosen on "
        f"these same images{elsewhere}. {alone}"
    )


def facts(data: Report) -> str:
    """How it was made, as the rows of a ``<dl>``."""
    rows = []
    for term, description in data.facts:
        text = html.escape(description)
        folded = f"<details><summary>show</summary>{text}</details>" if len(description) > _LONG else text
        rows.append(f"<dt>{html.escape(term)}</dt><dd>{folded}</dd>")
    return "".join(rows)


def front_head(data: Report) -> str:
    """The cells of the head of the front's table, each with what the scripts know it by."""
    cells = [
        f'<th scope="col" data-key="{key}" title="{html.escape(tip)}">{html.escape(title)}</th>'
        for key, title, tip, _ in _columns(data)
    ]
    return "".join(cells) + '<th scope="col">widths<span class="plain">, first quantizer first</span></th>'


def front_rows(data: Report) -> str:
    """A row for each point of the front, cheapest first, with all of its widths."""
    rows = []
    for index, point in enumerate(data.front):
        cells = "".join(f"<td>{html.escape(text(index, point))}</td>" for *_, text in _columns(data))
        rows.append(f'<tr>{cells}<td class="widths">{_runs(data, widths_of(point))}</td></tr>')
    return "\n".join(rows)


def heat_map(data: Report) -> str:
    """The sensitivities as a table: a row for each quantizer, a column for each width; empty if there are none."""
    if data.sensitivities is None:
        return ""
    widths, divergence = data.sensitivities["widths"], np.array(data.sensitivities["divergence"])
    largest = float(divergence.max()) or 1.0
    # From nothing, light, to the largest, dark: by its logarithm.
    shade = 1 + np.log10(np.maximum(divergence / largest, _LEAST_SHARE)) / -np.log10(_LEAST_SHARE)
    colours = mpl.colormaps["cividis_r"](shade)
    head = "".join(f'<th scope="col">{width}</th>' for width in widths)
    rows = [f"<thead><tr><th></th>{head}</tr></thead><tbody>"]
    for name, values, row in zip(data.names, divergence, colours, strict=True):
        cells = "".join(
            f'<td style="{readable(to_hex(c))}">{_brief(v)}</td>' for v, c in zip(values, row, strict=True)
        )
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    return "".join(rows) + "</tbody>"


def width_styles(data: Report) -> str:
    """A rule for each width: its colour, and black or white on it."""
    lower = data.num_bits_limits[0]
    return "".join(
        f".w{lower + index} {{ {readable(colour)} }} " for index, colour in enumerate(data.width_colours)
    )


def readable(colour: str) -> str:
    """A background, and of black and white the one with more contrast on it: always more than 4.5 (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    text = "#000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#fff"
    return f"background: {colour}; color: {text}"


def _columns(data: Report) -> list[tuple[str, str, str, Callable[[int, Point], str]]]:
    """Key, title, what it means where that needs a word, and the text of a cell."""
    columns: list[tuple[str, str, str, Callable[[int, Point], str]]] = [
        ("score", data.score, "", lambda _, p: written(data, p.score))
    ]
    if data.expected:
        tip = "without the luck of the search set: an estimate"
        columns.append(("expected", "expected", tip, lambda i, _: written(data, data.expected[i])))
    if data.held_out:
        tip = f"from the float model on the same items, {data.sureness} sure of all rows together"
        columns.append(("heldOut", "hold-out", "", lambda i, _: written(data, data.held_out[i][0])))
        columns.append(("heldOutDrop", "hold-out drop", tip, lambda i, _: _interval(data, i)))
    else:
        tip = f"{step(data).strip() or data.score} below the float model"
        columns.append(("drop", "drop", tip, lambda _, p: digits(data, data.baseline.score - p.score)))
    columns.append(("total", "total bits", "", lambda _, p: str(p.total_bits)))
    if not data.held_out:
        columns.append(("mean", "mean bits", "", lambda _, p: f"{p.total_bits / len(data.names):.2f}"))
    if own_cost(data):
        columns.append(("cost", data.cost, "", lambda _, p: amount(p.cost)))
    for index, (name, _) in enumerate(data.other_costs):
        columns.append((f"cost-{index}", name, "", partial(_other, index)))
    return columns


def _other(index: int, _: int, point: Point) -> str:
    return amount(point.others[index])


def _interval(data: Report, index: int) -> str:
    return " to ".join(digits(data, end) for end in data.held_out[index][2:])


def _runs(data: Report, widths: Iterable[int]) -> str:
    """Widths as digits on their colours, neighbours that are alike together."""
    runs = ((width, len(list(same))) for width, same in itertools.groupby(widths))
    return " ".join(
        f'<b class="w{width}">{" ".join([str(width or "float")] * count)}</b>' for width, count in runs
    )


def _brief(value: float) -> str:
    """A divergence in as much room as a cell has."""
    return f"{float(f'{value:.2g}'):g}" if value >= 1e-3 or not value else f"{value:.0e}".replace("e-0", "e-")
