"""The files around the code say what is true."""

import hashlib
import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from PIL import Image

import qa_lib

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_conda_users_get_what_setup_py_says():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == ["python=3.11", "pip", {"pip": ["-c constraints.txt", "-e .[dev]"]}]


def test_the_toolkit_is_pinned_to_the_last_real_release():
    setup = (ROOT / "setup.py").read_text()
    assert re.search(r'#.*2\.1\.3.*\n(\s*#.*\n)*\s*"pytorch-quantization==2\.1\.3"', setup)


def test_every_requirement_has_a_bound():
    requirements = re.findall(r'^\s+"([a-z0-9-]+)([^"]*)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert len(requirements) > 10
    assert all(bound.startswith((">=", "==")) for _, bound in requirements), requirements


def requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return {
        found.name: found for found in map(Requirement, (line for line in lines if line and line[0] != "#"))
    }


def declared():
    setup = (ROOT / "setup.py").read_text()
    needed = setup[setup.index("install_requires") : setup.index("extras_require")]
    found = re.findall(r'^\s+"([a-z0-9-]+[>=][^"]*)",', needed, re.MULTILINE)
    return {requirement.name: requirement for requirement in map(Requirement, found)}


@pytest.mark.parametrize("constraints", ["constraints.txt", "constraints-oldest.txt"])
def test_what_make_installs_is_what_setup_py_allows(constraints):
    pinned = requirements(constraints)
    assert {"torch", "numpy", "pymoo", "pytorch-quantization"} <= set(pinned)
    for name, requirement in declared().items():
        if name in pinned:
            (pin,) = pinned[name].specifier
            assert pin.operator == "==" and pin.version in requirement.specifier, name


def test_the_oldest_of_each_that_setup_py_states_is_tried():
    pinned = requirements("constraints-oldest.txt")
    for name, requirement in declared().items():
        (lower,) = requirement.specifier
        assert next(iter(pinned[name].specifier)).version.startswith(lower.version), name


def test_the_workflow_runs_the_gate_on_each_python_that_setup_py_names():
    minors = re.search(r"for minor in \(([\d, ]+)\)", (ROOT / "setup.py").read_text()).group(1).split(", ")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    gate = workflow["jobs"]["gate"]
    assert gate["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in minors]
    assert ".ci/run" in [step.get("run") for step in gate["steps"]]


def test_hooks_before_a_commit_download_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}
    assert {hook["language"] for repository in hooks["repos"] for hook in repository["hooks"]} == {"system"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".github/workflows/test.yml"])
def test_each_target_of_make_that_is_named_is_one(page):
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`|run: )make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE)
    assert named and set(named) <= set(targets)


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == qa_lib.__version__ and citation["cff-version"] == "1.2.0"


def test_the_data_readme_states_the_sums_of_the_files():
    for line in (ROOT / "data" / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split()
        assert hashlib.sha256((ROOT / "data" / name).read_bytes()).hexdigest() == expected
        assert line in (ROOT / "data" / "README.md").read_text()


def test_the_embedded_files_are_small():
    assert (ROOT / "data" / "fashion_mnist.npz").stat().st_size < 6_000_000
    assert (ROOT / "data" / "fashion_mnist_resnet.pt").stat().st_size < 1_000_000


@pytest.mark.parametrize("page", ["README.md", "data/README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_readme_names_every_notebook_and_command():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.name}" in README
    for command in ("make run", "make test", "make lab"):
        assert command in README


@pytest.mark.slow
def test_the_readme_example_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # it leaves an archive behind
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len(example.split("\n\n")[1].strip().splitlines()) == 5 + 1  # and one to print
    shortened = re.sub(r"full_passes=\d+", "full_passes=10, population_size=2, progress=False", example)
    assert shortened != example
    names: dict = {}
    # The example prints its result.
    exec(shortened.replace("print(", "str("), names)
    assert not names["exploration"].front.empty


@pytest.mark.slow
def test_the_readme_example_of_ones_own_model_runs(monkeypatch, tmp_path):
    from torch.utils.data import TensorDataset

    from qa_lib import load_workload

    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    assert len(example.split("\n\n")[1].strip().splitlines()) <= 10
    shortened = re.sub(r"full_passes=\d+", "evaluations=6, population_size=2, progress=False", example)
    assert shortened != example
    scenes = load_workload("garment_scenes")
    calibration = TensorDataset(scenes.calibration_images[:32], scenes.calibration_labels[:32])
    search = TensorDataset(scenes.search_images[:64], scenes.search_labels[:64])
    names = {"model": scenes.model, "calibration_set": calibration, "search_set": search}
    exec(shortened.replace("print(", "str("), names)
    assert (names["exploration"].front["mean_IoU"] >= 0.5).all() and len(names["exploration"].front)


def test_the_moving_picture_of_the_panel_is_small_and_moves():
    with Image.open(ROOT / "figures" / "panel.gif") as picture:
        assert picture.n_frames > 10 and "figures/panel.gif" in README
    assert (ROOT / "figures" / "panel.gif").stat().st_size < 1_000_000
