"""The files around the code say what is true."""

import hashlib
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_conda_users_get_what_setup_py_says():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == ["python=3.11", "pip", {"pip": ["-e .[dev]"]}]


def test_the_toolkit_is_pinned_to_the_last_real_release():
    setup = (ROOT / "setup.py").read_text()
    assert re.search(r'#.*2\.1\.3.*\n(\s*#.*\n)*\s*"pytorch-quantization==2\.1\.3"', setup)


def test_every_requirement_has_a_bound():
    requirements = re.findall(r'^\s+"([a-z0-9-]+)([^"]*)",$', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert len(requirements) > 10
    assert all(bound.startswith((">=", "==")) for _, bound in requirements), requirements


def test_the_data_readme_states_the_sums_of_the_files():
    for line in (ROOT / "data" / "SHA256SUMS").read_text().splitlines():
        expected, name = line.split()
        assert hashlib.sha256((ROOT / "data" / name).read_bytes()).hexdigest() == expected
        assert line in (ROOT / "data" / "README.md").read_text()


def test_the_embedded_files_are_small():
    assert (ROOT / "data" / "fashion_mnist.npz").stat().st_size < 6_000_000
    assert (ROOT / "data" / "fashion_mnist_resnet.pt").stat().st_size < 1_000_000


@pytest.mark.parametrize("page", ["README.md", "data/README.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_the_readme_names_every_notebook_and_command():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.name}" in README
    for command in ("make run", "make test", "make lab"):
        assert command in README


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
