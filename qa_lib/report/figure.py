"""The front as a figure that needs no script: SVG in the colours of the page."""

import html
from collections.abc import Iterable

from matplotlib.ticker import MaxNLocator

from qa_lib.report.record import Point, Report
from qa_lib.report.wording import amount, own_cost, rounded, written

# The whole, and what is left around the axes for their numbers and titles.
_WIDTH, _HEIGHT = 500, 380
_LEFT, _TOP, _RIGHT, _BOTTOM = 74, 10, 12, 54
# Points beside the front, those nearest to it; each takes room in the file.
_MOST_DRAWN = 500
_ACROSS, _UP = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


class _Plane:
    """Where things stand on the picture."""

    def __init__(self, data: Report) -> None:
        self._view = data.view

    def x(self, cost: float) -> float:
        low, high = self._view.x
        return round(_ACROSS * (cost - low) / (high - low), 1)

    def y(self, score: float) -> float:
        low, high = self._view.y
        return round(_UP * (high - score) / (high - low), 1)

    def dots(self, points: tuple[Point, ...], mark: str = "h0") -> str:
        """A path with a mark at each point, those that nobody could tell apart once."""
        near = (p for p in points[:_MOST_DRAWN] if p.score >= self._view.y[0])
        places = {(round(self.x(p.cost)), round(self.y(p.score))) for p in near}
        return "".join(f"M{x} {y}{mark}" for x, y in sorted(places))


def front_figure(data: Report) -> str:
    """``<figure>`` with the front, what lies near it, the baselines, and a legend."""
    plane = _Plane(data)
    cost = f"{data.cost} (← {'less' if own_cost(data) else 'fewer'} is better)"
    unit = "" if data.score_unit in ("", "%") else f" ({data.score_unit})"
    score = f"{data.score}{unit} on the search set (more is better →)"
    middle = _TOP + _UP / 2
    parts = [
        *_axes(data, plane),
        f'<text x="{_LEFT + _ACROSS / 2}" y="{_HEIGHT - 10}" text-anchor="middle">{html.escape(cost)}</text>',
        f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{html.escape(score)}</text>',
        f'<svg x="{_LEFT}" y="{_TOP}" width="{_ACROSS}" height="{_UP}">{"".join(_marks(data, plane))}</svg>',
    ]
    label = html.escape(f"{data.score} against {data.cost}; the numbers are in the table")
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f"<figcaption>{_legend(data)}</figcaption></figure>"
    )


def _axes(data: Report, plane: _Plane) -> Iterable[str]:
    (left, right), (low, high) = data.view.x, data.view.y
    yield f'<path class="axes" d="M{_LEFT} {_TOP}V{_TOP + _UP}H{_LEFT + _ACROSS}"/>'
    steps = [1, 2, 2.5, 5, 10]
    for cost in MaxNLocator(7, steps=steps, integer=not own_cost(data)).tick_values(left, right):
        if left <= cost <= right:
            x = _LEFT + plane.x(cost)
            yield f'<path class="grid" d="M{x} {_TOP}v{_UP}"/>'
            yield f'<text x="{x}" y="{_TOP + _UP + 18}" text-anchor="middle">{amount(cost)}</text>'
    for score in MaxNLocator(7, steps=steps).tick_values(low, high):
        if low <= score <= high:
            y = _TOP + plane.y(score)
            text = f"{rounded(100 * score, 6)} %" if data.score_unit == "%" else rounded(score, 6)
            yield f'<path class="grid" d="M{_LEFT} {y}h{_ACROSS}"/>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'


def _marks(data: Report, plane: _Plane) -> Iterable[str]:
    yield f'<path class="dot dominated" d="{plane.dots(data.dominated)}"/>'
    yield f'<path class="line infeasible" d="{plane.dots(data.infeasible, "m-3-3l6 6m0-6l-6 6")}"/>'
    yield f'<path class="line float" d="M0 {plane.y(data.baseline.score)}h{_ACROSS}"/>'
    if data.min_score is not None:
        yield f'<path class="line limit" d="M0 {plane.y(data.min_score)}h{_ACROSS}"/>'
    for points, scores, name in (
        (data.front, data.expected, "expected"),
        (data.front, [p.score for p in data.front] if data.by == "score" else [], "front"),
    ):
        if len(scores) > 1:
            places = [(plane.x(p.cost), plane.y(s)) for p, s in zip(points, scores, strict=True)]
            stair = "".join(f"H{x}V{y}" for x, y in places[1:])
            yield f'<path class="line {name}" d="M{places[0][0]} {places[0][1]}{stair}"/>'
    for point, num_bits in zip(data.uniform, data.uniform_num_bits, strict=True):
        x, y = plane.x(point.cost), plane.y(point.score)
        yield f'<path class="uniform" d="M{x - 5:.1f} {y - 5:.1f}h10v10h-10z"/>'
        inside, beside = min(max(x, 18), _ACROSS - 18), y + 19 if y < _UP - 24 else y - 10
        yield f'<text x="{inside}" y="{beside:.1f}" text-anchor="middle">{num_bits} bits</text>'
    for point, (_, drop, low, high) in zip(data.front, data.held_out, strict=False):
        x, level = plane.x(point.cost), data.baseline.score
        yield f'<path class="line chosen" d="M{x} {plane.y(level - low)}V{plane.y(level - high)}"/>'
        yield f'<path class="chosen" d="M{x} {plane.y(level - drop)}m0-4l4 4l-4 4l-4-4z"/>'
    for number, point in enumerate(data.front, start=1):
        said = f"{number} of {len(data.front)}: {written(data, point.score)}, {amount(point.cost)} {data.cost_unit}"
        yield (
            f'<circle class="front" cx="{plane.x(point.cost)}" cy="{plane.y(point.score)}" r="5">'
            f"<title>{html.escape(said)}</title></circle>"
        )


def _legend(data: Report) -> str:
    by_divergence = data.by == "divergence"
    entries = [
        ("front", "●", "front, as measured" if by_divergence else "front", data.front),
        ("expected", "━", "front, as expected (an estimate)", len(data.expected) > 1),
        ("chosen", "◆", f"drop on {data.held_out_items:,} items that chose nothing, {data.sureness} sure of all together", data.held_out),
        ("uniform", "■", "uniform widths", data.uniform),
        ("float", "╍", f"float model {written(data, data.baseline.score)}", True),
        ("limit", "┈", f"minimum {written(data, data.min_score or 0.0)}", data.min_score is not None),
        ("dominated", "●", ("not on the front" if by_divergence else "dominated") + _nearest(data.dominated), data.dominated),
        ("infeasible", "×", "infeasible" + _nearest(data.infeasible), data.infeasible),
    ]  # fmt: skip
    spans = [
        f'<span><b class="{name}" aria-hidden="true">{sign}</b> {html.escape(text)}</span>'
        for name, sign, text, there in entries
        if there
    ]
    if data.view.below and data.view.lowest is not None:
        spans.append(f"<span>{data.view.below:,} more below {written(data, data.view.lowest)}</span>")
    return " ".join(spans)


def _nearest(points: tuple[Point, ...]) -> str:
    return f" (the nearest {_MOST_DRAWN})" if len(points) > _MOST_DRAWN else ""
