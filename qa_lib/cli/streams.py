"""Standard output and error as a terminal leaves them: closed, cut short by ``| head``, or with few letters."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any

from qa_lib.errors import QAWarning


class _Forgiving:
    """A stream whose reader may go away: what is written from then on goes nowhere."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115 as long as the process lives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError:
            self._go_nowhere()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._go_nowhere()

    def _go_nowhere(self) -> None:
        # The stream still holds some of it, and would fail again as the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """In the ``with`` block warnings of qa_lib are one line each, as its errors are."""
    before = warnings.showwarning

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, QAWarning):
            # On a line of its own, above a bar. Ctrl-C before main() begins is not caught: so little is imported until then.
            import_module("tqdm").tqdm.write(f"qa_lib: {message}", file=sys.stderr)
        else:
            before(message, category, *where, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """In the ``with`` block nothing fails because standard output or error cannot be written to."""
    with redirect_stdout(_Forgiving(sys.stdout)), redirect_stderr(_Forgiving(sys.stderr)):
        yield
        sys.stdout.flush()
        sys.stderr.flush()
