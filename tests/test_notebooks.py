"""What nbval does not look at: how the notebooks are stored."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def test_there_are_the_nine():
    assert [path.stem for path in NOTEBOOKS] == [
        "01_setup",
        "02_calibration",
        "03_exploration",
        "04_pareto_front",
        "05_how_far_from_the_truth",
        "06_your_own_model",
        "07_for_your_accelerator",
        "08_on_a_cluster",
        "09_from_the_toolkit",
    ]


def test_no_widget_state_is_stored(notebook):
    assert "widgets" not in notebook.metadata
    kinds = {kind for output in outputs(notebook) for kind in output.get("data", {})}
    assert not {kind for kind in kinds if "widget" in kind}


def test_no_error_or_warning_is_stored(notebook):
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]
    assert not [output for output in outputs(notebook) if "Warning" in output.get("text", "")]


def test_outputs_are_stored_in_one_go_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))


def test_a_panel_is_stored_as_its_picture(notebook):
    for output in outputs(notebook):
        data = output.get("data", {})
        assert not data.get("text/plain", "").startswith("BitWidthPanel(") or "image/png" in data


def test_cells_that_only_check_are_folded(notebook):
    for cell in code_cells(notebook):
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        lines = [line for line in cell.source.splitlines() if line and not line.startswith((" ", ")"))]
        checks = [line for line in lines if line.startswith("assert ")]
        assert folded or not checks or len(checks) < len(lines), cell.source
        assert not folded or ((checks or "assert " in cell.source) and not cell.outputs), cell.source


MINUTES = {"one": 1, "five": 5, "ten": 10, "fifteen": 15, "twenty": 20}


def test_it_takes_no_longer_to_read_than_is_said_at_its_top(notebook):
    (said,) = re.findall(r"\b(\w+) minutes to read, [\w ]+ to run", notebook.cells[0].source)
    text = re.sub(
        r"```mermaid.*?```",
        "",
        "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"),
        flags=re.S,
    )
    text = text.split("## References")[0]
    shown = [c for c in code_cells(notebook) if not c.metadata.get("jupyter")]
    lines = sum(len(cell.source.splitlines()) for cell in shown)
    assert len(text.split()) / 150 + lines / 20 <= MINUTES[said.lower()]


def test_each_has_a_diagram_an_exercise_with_a_hint_and_references(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.count("```mermaid\n") >= 1 and "## Try it" in notebook.cells[-1].source
    for diagram in re.findall(r"```mermaid\n(.*?)```", text, re.S):
        assert diagram.startswith("flowchart ") and diagram.count("[") == diagram.count("]")
    assert "<summary>Hint</summary>" in notebook.cells[-1].source
    references = notebook.cells[-1].source.split("## References")[1]
    assert references.count("\n- ") == references.count("](http") >= 2


def test_a_cell_that_is_not_compared_is_followed_by_one_that_asserts(notebook):
    cells = code_cells(notebook)
    for number, cell in enumerate(cells):
        if "nbval-ignore-output" in cell.metadata.get("tags", ()):
            following = [later.source for later in cells[number + 1 : number + 5]]
            assert any("assert " in source for source in following), cell.source


def test_cells_define_no_long_functions(notebook):
    for cell in code_cells(notebook):
        for body in re.findall(r"^def .*(?:\n(?: .*)?)*", cell.source, re.MULTILINE):
            assert len(body.splitlines()) <= 5, body


def test_links_and_figures_lead_somewhere(notebook):
    for cell in notebook.cells:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", cell.source):
            assert (FOLDER / target).exists(), target
        for target in re.findall(r'figures / "([^"]+)"', cell.source):
            assert (FOLDER.parent / "figures" / target).exists(), target
        assert cell.cell_type != "code" or "../" not in cell.source  # it runs from any directory


def test_what_the_gate_does_for_less_long_is_what_the_cell_does(notebook):
    for cell in code_cells(notebook):
        for text, shorter in cell.metadata.get("brief", {}).items():
            assert text in cell.source and text != shorter
            assert "image/png" not in str(cell.outputs)  # what is drawn is drawn in full
