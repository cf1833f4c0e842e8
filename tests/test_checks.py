import math

import numpy as np
import pytest

from qa_lib.checks import check_count, check_positive, check_share
from qa_lib.errors import DataError


@pytest.mark.parametrize("value", [1, 7, np.int64(7)], ids=repr)
def test_whole_numbers_are_taken_as_plain_ints(value):
    assert type(check_count("size", value, DataError)) is int


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None, np.float64(2)], ids=repr)
def test_what_is_no_whole_number_from_one_up_is_refused(value):
    with pytest.raises(DataError, match="^size is .*; give a whole number from 1 up$"):
        check_count("size", value, DataError)


def test_a_largest_is_said():
    assert check_count("size", 9, DataError, smallest=2, largest=9) == 9
    with pytest.raises(DataError, match="size is 10; give a whole number from 2 to 9"):
        check_count("size", 10, DataError, smallest=2, largest=9)


@pytest.mark.parametrize("value", [-0.1, 85, math.nan, "a", None, [0.5, 0.5]], ids=repr)
def test_what_is_no_share_is_refused(value):
    assert check_share("part", 1, DataError) == 1.0
    with pytest.raises(DataError, match="it is a share, 0 to 1"):
        check_share("part", value, DataError)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, True, "1", None], ids=repr)
def test_what_is_no_number_above_zero_is_refused(value):
    assert check_positive("budget", np.float32(0.5), DataError) == 0.5
    with pytest.raises(DataError, match="give a number above 0"):
        check_positive("budget", value, DataError)
