"""How the page writes numbers."""

from qa_lib.report.record import Point, Report


def rounded(value: float, digits: int) -> str:
    """As many significant digits, without an exponent where it can be."""
    short = float(f"{value:.{digits}g}")
    return str(int(short)) if short.is_integer() else str(short)


def digits(data: Report, score: float) -> str:
    """A score or a difference of two, without its unit."""
    share = data.score_unit == "%"
    text = f"{100 * score if share else score:.2f}" if data.score_unit else rounded(score, 4)
    return text.replace("-", "−")


def written(data: Report, score: float) -> str:
    """A score with its unit."""
    return f"{digits(data, score)} {data.score_unit}".rstrip()


def step(data: Report) -> str:
    """What follows a difference of two scores."""
    return " points" if data.score_unit == "%" else f" {data.score_unit}".rstrip()


def amount(cost: float | None) -> str:
    """What something costs, without its unit."""
    return "–" if cost is None else rounded(cost, 6)


def own_cost(data: Report) -> bool:
    """Whether something else than the total bits was minimised."""
    return data.cost_column != "total_bits"


def widths_of(point: Point) -> tuple[int, ...]:
    """The widths that a point's digits say; 0 is float."""
    return tuple(int(digit, 36) for digit in point.widths)
