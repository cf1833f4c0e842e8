"""What fits the screen, and what scripts read."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from qa_lib.cli.output import as_json, columns, wrapped
from qa_lib.cli.table import as_text


@pytest.fixture
def cells():
    return pd.DataFrame(
        {
            "accuracy": ["93.60%", "infeasible"],
            "expected": ["", "85.11%"],
            "hold-out": ["93.00%", "84.98%"],
            "drop, points": ["", "12.01 to 13.11"],
            "total bits": ["1,696", "1,060"],
            "mean bits": ["32.00", "4.24"],
        },
        index=["float", "front 122"],
    )


@pytest.mark.parametrize("quantizers", [2, 5, 17, 53, 122])
@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("widest", [9, 12])
def test_a_table_of_settings_fits_and_says_every_width_in_order(
    cells, quantizers, width, widest, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(width))
    setting = tuple(2 + index % (widest - 1) for index in range(quantizers))
    lines = as_text(cells, [(None,) * quantizers, setting]).splitlines()
    assert max(map(len, lines)) <= width
    last = next(index for index, line in enumerate(lines) if line.startswith("front 122"))
    shown = " ".join(lines[last:]).removeprefix("front 122").partition("1,060")[2].replace(" 4.24", "")
    digits = (
        shown.split()
        if max(setting) > 9 or (" " in shown.strip() and quantizers < 9)
        else shown.replace(" ", "")
    )
    assert tuple(map(int, digits)) == setting
    for fact in ("12.01 to 13.11", "1,060", "infeasible"):
        assert fact in lines[last]


def test_where_not_even_the_numbers_fit_the_mean_goes(cells, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    wide = cells.assign(**{"bit operations (GBOPs)": ["1.23456", "0.123456"]})
    setting = (2,) * 53
    shown = as_text(wide, [(None,) * 53, setting])
    assert shown.splitlines()[-1] == "    2 everywhere" and "-" not in shown.splitlines()[-2]
    assert "4.24" not in shown and "0.123456" in shown and max(map(len, shown.splitlines())) <= 80


def test_the_screen_is_what_COLUMNS_says(monkeypatch):  # noqa: N802
    monkeypatch.setenv("COLUMNS", "50")
    assert columns() == 50
    assert max(map(len, wrapped("some words " * 30).splitlines())) <= 50


def test_json_holds_what_json_can():
    given = {"a": np.float64(0.5), "b": math.nan, "c": (1, None, np.int64(3)), "d": {"e": -math.inf, 2: True}}
    assert json.loads(as_json(given)) == {
        "a": 0.5,
        "b": None,
        "c": [1, None, 3],
        "d": {"e": None, "2": True},
    }
