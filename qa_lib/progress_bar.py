"""A progress bar where the user looks, and lines where a log is kept."""

import sys
from typing import Any

from IPython import get_ipython
from tqdm import tqdm

# A terminal of fewer columns has no room for everything.
_NARROW = 112
# With what a search says it fits one line of a notebook 1280 pixels wide.
_WIDE_FORMAT = (
    "{percentage:3.0f}%|{bar:6}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
)
_NARROW_FORMAT = "{percentage:3.0f}%|{bar:5}| {n:.0f}/{total:.0f}{unit}, {remaining} left{postfix}"
_LINE_FORMAT = "{percentage:3.0f}% {n:.0f}/{total:.0f}{unit}, {elapsed} so far, {remaining} left, {rate_noinv_fmt}{postfix}"
# A log gets a line each such share of the whole, or after so many seconds, but never two within a few.
_SHARE, _MOST_SECONDS, _LEAST_SECONDS = 0.1, 60.0, 2.0


class _Lines(tqdm):
    """Writes a line now and then, and one at the end."""

    _last: tuple[float, float] | None = None
    _ending = False

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        now = self._time()
        seconds, done = self._last or (now, self.n)
        due = self.n - done >= _SHARE * (self.total or 0) or now - seconds >= _MOST_SECONDS
        self._last = self._last or (now, self.n)
        if self._ending:
            self.fp.write(str(self))  # tqdm ends the line
        elif due and now - seconds >= _LEAST_SECONDS and self.n < (self.total or 0):
            self._last = now, self.n
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def clear(self, *args: Any, **kwargs: Any) -> None:
        """Nothing has to make room."""

    def close(self) -> None:
        self._ending = True
        super().close()


def progress_bar(total: float, unit: str, *, shown: bool) -> tqdm:
    """A bar on standard error, or in a notebook under the cell; where standard error is no terminal, lines."""
    in_notebook = hasattr(get_ipython(), "kernel")
    # JupyterLab shows standard error on red, as if something were wrong.
    file = sys.stdout if in_notebook else sys.stderr
    lines = not in_notebook and not file.isatty()
    bar = (_Lines if lines else tqdm)(
        total=total, unit=unit, file=file, disable=not shown, mininterval=0.5, bar_format=_WIDE_FORMAT
    )
    form = _LINE_FORMAT if lines else _NARROW_FORMAT if is_narrow(bar) else _WIDE_FORMAT
    bar.bar_format = (
        form.replace(", {rate_noinv_fmt}", "") if "seconds" in unit else form
    )  # of which a second has one
    return bar


def is_narrow(bar: tqdm) -> bool:
    """Whether there is no room for everything in the line of a bar."""
    return 0 < (getattr(bar, "ncols", None) or 0) < _NARROW and not isinstance(bar, _Lines)


def say(bar: tqdm, text: str) -> None:
    """Writes a line above a bar, if it is shown."""
    if not bar.disable:
        bar.write(text, file=bar.fp)
