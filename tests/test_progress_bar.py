"""A bar for a terminal, lines for a log."""

import io
import itertools
import sys

import pytest

from qa_lib.progress_bar import progress_bar, say


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [100.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def logged(monkeypatch, clock, seconds_a_step, steps=100):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress_bar(steps, " steps", shown=True) as bar:
        for _ in range(steps):
            clock[0] += seconds_a_step
            bar.update()
    return log.getvalue()


def test_a_log_gets_a_line_each_tenth_and_no_carriage_returns(monkeypatch, clock):
    log = logged(monkeypatch, clock, 3.0)
    lines = log.splitlines()
    assert "\r" not in log and "|" not in log and log.endswith("\n") and "" not in lines
    done = [int(line.split("%")[0]) for line in lines]
    assert done == [*range(10, 100, 10), 100]
    assert "30/100 steps, 01:30 so far, 03:30 left" in lines[2]


def test_of_what_is_quick_a_log_gets_few_lines_and_of_what_is_slow_one_a_minute(monkeypatch, clock):
    quick = logged(monkeypatch, clock, 0.06).splitlines()
    assert [line.split("%")[0].strip() for line in quick] == ["36", "72", "100"]
    slow = logged(monkeypatch, clock, 40.0, steps=50).splitlines()
    percents = [int(line.split("%")[0]) for line in slow]
    assert percents[:4] == [4, 8, 12, 16] and len(slow) == 25  # each two steps, 80 seconds


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_said_stands_on_a_line_of_its_own(monkeypatch, stream):
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    with progress_bar(2, " steps", shown=True) as bar:
        say(bar, "a sentence")
        bar.update(2)
    text = shown.getvalue()
    assert ("\r" in text) == (stream is Terminal)
    assert "a sentence" in [line.rpartition("\r")[2].strip() for line in text.splitlines()]
    assert "2/2" in text
    with progress_bar(2, " steps", shown=False) as bar:
        say(bar, "nothing")
    assert "nothing" not in shown.getvalue()


def test_seconds_have_no_rate(monkeypatch):
    for unit, stream in itertools.product((" seconds", " steps"), (io.StringIO, Terminal)):
        shown = stream()
        monkeypatch.setattr(sys, "stderr", shown)
        progress_bar(2, unit, shown=True).close()
        assert ("steps/s" in shown.getvalue().splitlines()[-1]) == (unit == " steps")
