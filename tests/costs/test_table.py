import pytest

from qa_lib.costs import CostTable, cost_of, cost_table, write_cost_template
from qa_lib.errors import SearchError

NAMES = ("input", "conv, 1")


def csv(tmp_path, *rows, head="layer,num_bits,value"):
    path = tmp_path / "chip_energy.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


WHOLE = (
    "input,2,1",
    "input,4,2.5",
    '"conv, 1",2,10',
    '"conv, 1",4,30.25',
    "input,float,99",
    '"conv, 1",float,100',
)


def test_a_table_is_a_sum_of_what_it_says(tmp_path):
    cost = CostTable.from_csv(csv(tmp_path, *WHOLE), NAMES, unit="uJ")
    assert (cost.name, cost.unit, cost.is_sum) == ("chip energy", "uJ", True)
    assert cost((2, 4)) == 31.25 and cost((4, 2)) == 12.5 and cost((None, 2)) == 109
    assert cost_table(cost, 2, (2, 4)).sum(axis=0).tolist() == [11, 32.75]
    assert cost == CostTable.from_csv(tmp_path / "chip_energy.csv", NAMES, unit="uJ") and hash(cost)


def test_columns_stand_in_any_order_beside_others(tmp_path):
    expected = CostTable.from_csv(csv(tmp_path, "input,2,1", "input,4,3"), NAMES[:1])
    rows = csv(tmp_path, "1,mine,2,input", "3,,4,input", head="\ufeffvalue,note,num_bits,layer")
    assert CostTable.from_csv(rows, NAMES[:1]) == expected


def test_a_template_is_filled_in_and_read(qmodel, tmp_path):
    path = tmp_path / "energy.csv"
    qmodel.cost_template(path, widths=(2, 8))
    lines = path.read_text().splitlines()
    assert lines[0] == "layer,num_bits,value" and len(lines) == 1 + 2 * 4
    path.write_text("\n".join([lines[0], *(f"{line}{n}" for n, line in enumerate(lines[1:]))]))
    assert cost_of(qmodel, str(path))((8, 8, 2, 2)) == 1 + 3 + 4 + 6
    path.unlink()
    write_cost_template(path, NAMES, (2,))
    with pytest.raises(SearchError, match="says '' for 'input' at 2 bits; give a finite number from 0 up"):
        CostTable.from_csv(path, NAMES)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (WHOLE[:-1], "does not say what 'conv, 1' costs at float: give a row for each layer and width"),
        (WHOLE[:2], "does not say what 'conv, 1' costs at 2 bits"),
        ((*WHOLE, "input,2,1"), "says twice what 'input' costs at 2 bits"),
        ((*WHOLE, "pool,2,1"), "has layer 'pool'; the quantizers are input, conv, 1"),
        (("input,2,-1",), "says '-1' for 'input' at 2 bits; give a finite number from 0 up"),
        (("input,2,nan",), "says 'nan'"),
        (("input,two,1",), "gives 'input' 'two' bits; give a width from 2 to 16, or float"),
        (("input,1,1",), "gives 'input' '1' bits"),
        (("input,1_0,1",), "gives 'input' '1_0' bits"),
        (("input,2,1_000",), "says '1_000' for 'input' at 2 bits; give a finite number from 0 up"),
        (("input,2",), "says '' for 'input' at 2 bits"),
        (("input,2,1,5",), "no table that can be read"),
        ((), "has no rows"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, rows, message):
    with pytest.raises(SearchError, match=message):
        CostTable.from_csv(csv(tmp_path, *rows), NAMES)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(SearchError, match="give layer, num_bits, value"):
        CostTable.from_csv(csv(tmp_path, "1,2", head="a,b"), NAMES)
    with pytest.raises(SearchError, match="num_bits, value, each once"):
        CostTable.from_csv(csv(tmp_path, "input,2,1,9", head="layer,num_bits,value,value"), NAMES)
    with pytest.raises(SearchError, match="no table that can be read"):
        CostTable.from_csv(tmp_path / "missing.csv", NAMES)
    (tmp_path / "binary.csv").write_bytes(b"\x80\xff")
    with pytest.raises(SearchError, match="no table that can be read"):
        CostTable.from_csv(tmp_path / "binary.csv", NAMES)
    with pytest.raises(SearchError, match="the template"):
        write_cost_template(tmp_path / "none" / "energy.csv", NAMES)


def test_a_width_that_the_table_lacks_is_named(tmp_path):
    cost = CostTable.from_csv(csv(tmp_path, *WHOLE[:4]), NAMES)
    with pytest.raises(SearchError, match="table of chip energy does not say what 'input' costs at 8 bits"):
        cost((8, 2))
    with pytest.raises(SearchError, match="does not say what 'conv, 1' costs at float"):
        cost((2, None))
    with pytest.raises(SearchError, match="of 2 quantizers, but there are 3 widths"):
        cost((2, 2, 2))


def test_a_table_that_is_filled_in_is_not_emptied(qmodel, tmp_path):
    file = tmp_path / "energy.csv"
    qmodel.cost_template(file)
    qmodel.cost_template(file)  # nothing in it is lost
    file.write_text(file.read_text().replace("input,2,\n", "input,2,1.5\n"))
    with pytest.raises(SearchError, match="is there, and filled in: give another name, or delete it"):
        qmodel.cost_template(file)
    assert "input,2,1.5" in file.read_text()
