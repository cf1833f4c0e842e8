"""A search as one page: how the record becomes a file.

What the page holds is in ``report.html``, how it looks in ``report.css``, and what it does where scripts run in ``report.js``.
"""

import html
import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from qa_lib.errors import ReportError
from qa_lib.files import checked_file, write_whole
from qa_lib.plots import style
from qa_lib.report import plain
from qa_lib.report.figure import front_figure
from qa_lib.report.record import MOST_OTHERS, Report, report
from qa_lib.search.checked_front import CheckedFront
from qa_lib.search.exploration import Exploration

LARGEST_PAGE = 6_000_000  # bytes
_FOLDER = Path(__file__).parent


def page(exploration: Exploration, checked: CheckedFront | None = None) -> str:
    """The page as text. It holds all of the front; of other points as many as ``LARGEST_PAGE`` has room for.

    Raises:
        SearchError: Nothing was measured to the end.
        ReportError: The front alone is too large.
    """
    most_others = MOST_OTHERS
    while True:
        data = report(exploration, checked, most_others=most_others)
        text = _fill(data)
        too_many = len(text.encode()) - LARGEST_PAGE
        if too_many <= 0:
            return text
        if not most_others:
            raise ReportError(
                f"the front has {len(data.front):,} points of {len(data.names)} quantizers, {too_many:,} bytes more than "
                f"a page of {LARGEST_PAGE:,} holds, and it is not shown in part: exploration.to_csv(path) writes it"
            )
        # By what they take on average; if that is not enough, once more.
        others = (*data.dominated, *data.infeasible)
        each = len(_json(others)) / len(others) if others else 1
        most_others = max(0, len(others) - int(too_many / each) - 1)


def write_page(exploration: Exploration, path: str | Path, checked: CheckedFront | None = None) -> None:
    """Writes a page to ``path`` that shows the search to somebody without Python: the front, the widths of each
    of its points, the sensitivities, a table to filter and sort, and how it was made. One file of at most 6 MB
    that opens in a browser, without a network. A file that is there already is replaced as a whole; through a link,
    what it leads to.

    Args:
        exploration: The search.
        path: Where to write it; the folder has to exist.
        checked: What ``exploration.check(holdout)`` returned: what the front is worth there, and how sure that is, is shown, too.

    Raises:
        SearchError: Nothing was measured to the end, or ``checked`` is another front.
        ReportError: The file cannot be written, or the front alone is too large for a page.

    Example:
        >>> write_page(exploration, "exploration.html")
        >>> Path("exploration.html").stat().st_size < 6_000_000
        True
    """
    checked_file(path, "the page", ReportError)  # before anything is drawn
    write_whole(path, page(exploration, checked), "the page", ReportError)


def _fill(data: Report) -> str:
    parts = {
        "title": html.escape(data.title),
        "summary": html.escape(plain.summary(data)),
        "notice": html.escape(plain.notice(data)),
        "figure": front_figure(data),
        "head": plain.front_head(data),
        "rows": plain.front_rows(data),
        "heat_map": plain.heat_map(data),
        "in_words": html.escape(data.summary),
        "measured": html.escape(plain.measured(data)),
        "facts": plain.facts(data),
        # No "<" at all: neither "</script" nor "<!--" can end or change the element that holds it.
        "data": _json(asdict(data)).replace("<", "\\u003c"),
        "colours": _colours(),
        "width_styles": plain.width_styles(data),
        "plotly": _plotly(),
    }
    # In one go: what was filled in is not looked at again, whatever a layer is called.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _template())


@cache
def _template() -> str:
    markup, css, js = (
        (_FOLDER / f"report.{ending}").read_text(encoding="utf-8") for ending in ("html", "css", "js")
    )
    return markup.replace("{{css}}", css).replace("{{js}}", js)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


@cache
def _plotly() -> str:
    return re.sub(r"</(?=script)", r"<\\/", get_plotlyjs(), flags=re.IGNORECASE)


def _colours() -> str:
    names = ("FRONT", "EXPECTED", "UNIFORM", "CHOSEN", "FLOAT", "DOMINATED", "INFEASIBLE", "LIMIT")
    return "".join(f"--{name.lower()}: {getattr(style, name)}; " for name in names)
