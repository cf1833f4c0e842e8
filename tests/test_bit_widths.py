import numpy as np
import pandas as pd
import pytest
import torch

from qa_lib.bit_widths import check_bit_widths, check_num_bits, width_columns
from qa_lib.errors import BitWidthError


@pytest.mark.parametrize(
    "given", [4, np.int64(4), 4.0, np.float32(4), torch.tensor(4), torch.tensor(4.0), np.array(4)], ids=repr
)
def test_whole_numbers_of_any_kind_become_plain_ints(given):
    checked = check_num_bits(given)
    assert checked == 4
    assert type(checked) is int


@pytest.mark.parametrize(
    "given", [1, 0, -3, 40, 17, 3.5, float("nan"), float("inf"), "4", True, [4]], ids=repr
)
def test_widths_that_are_not_allowed_are_named_with_what_is(given):
    with pytest.raises(BitWidthError, match=r"the width of 'conv1' is .*2 to 16"):
        check_num_bits(given, "the width of 'conv1'")


def test_a_mapping_changes_what_it_names():
    assert check_bit_widths({"b": 3}, {"a": 8, "b": 8, "c": None}) == (8, 3, None)


@pytest.mark.parametrize("given", [[4], [4, 4, 4, 4], []], ids=["too few", "too many", "none"])
def test_the_wrong_number_of_widths_is_counted(given):
    with pytest.raises(BitWidthError, match=rf"has {len(given)} values, but the model has 3 quantizers"):
        check_bit_widths(given, {"input": 8, "b": 8, "c": 8})


@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([3, 4, 5]),
        np.array([3.0, 4.0, 5.0]),
        pd.Series({"accuracy": 0.9, "total_bits": 12, "input": 3, "b": 4.0, "c": 5}),
    ],
    ids=["tensor", "array", "row of a table"],
)
def test_widths_come_as_tensors_arrays_and_rows(given):
    checked = check_bit_widths(given, {"input": 8, "b": 8, "c": 8})
    assert checked == (3, 4, 5) and set(map(type, checked)) == {int}


def test_missing_in_a_row_is_float():
    row = pd.DataFrame({"accuracy": [0.9], "input": [3], "b": pd.array([None], dtype="Int64")}).iloc[0]
    assert check_bit_widths(row, {"input": 8, "b": 8}) == (3, None)


def test_a_row_that_lacks_a_quantizer_changes_what_it_names():
    assert check_bit_widths(pd.Series({"b": 4}), {"input": 8, "b": 8}) == (8, 4)
    with pytest.raises(BitWidthError, match="'c'"):
        check_bit_widths(pd.Series([4, 4], index=["b", "c"]), {"input": 8, "b": 8})


def test_a_set_has_no_order():
    with pytest.raises(BitWidthError, match="give a sequence with one value for each of the 3"):
        check_bit_widths({3, 4, 5}, {"input": 8, "b": 8, "c": 8})


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(BitWidthError, match=r"\['nope'\].*input, b"):
        check_bit_widths({"nope": 4}, {"input": 8, "b": 8})


def test_a_single_number_is_refused_with_the_way_out():
    with pytest.raises(BitWidthError, match="one value for each of the 2 quantizers"):
        check_bit_widths(4, {"input": 8, "b": 8})


def test_a_layer_that_is_called_as_a_fact_has_a_column_of_its_own():
    names = ["input", "accuracy", "seconds", "accuracy_bits", "total_bits"]
    columns = width_columns(names)
    assert columns == ("input", "accuracy_bits_bits", "seconds_bits", "accuracy_bits", "total_bits_bits")
    row = dict(zip(columns, range(2, 7), strict=True)) | {"accuracy": 0.9, "total_bits": 20, "mean_bits": 4.0}
    for given in (row, pd.Series(row)):
        assert check_bit_widths(given, dict.fromkeys(names, 8)) == (2, 3, 4, 5, 6)


def test_a_mapping_that_names_such_a_layer_means_the_layer():
    assert check_bit_widths({"accuracy": 3}, {"input": 8, "accuracy": 8}) == (8, 3)
    assert check_bit_widths({"accuracy": 3, "input": 4}, {"input": 8, "accuracy": 8}) == (4, 3)


def test_a_row_as_a_dict_is_a_row():
    row = pd.DataFrame({"accuracy": [0.9], "input": [3], "b": pd.array([None], dtype="Int64")}).iloc[0]
    assert check_bit_widths(row.to_dict(), {"input": 8, "b": 8}) == (3, None)
    with pytest.raises(BitWidthError, match="'accuracy'"):
        check_bit_widths({"accuracy": 0.9, "input": 3}, {"input": 8, "b": 8})
