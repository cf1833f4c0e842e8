"""Where it runs: installed as a package, without a home, with folders that cannot be written to."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from qa_lib.compiled import compiled

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = ["egg_info", "--egg-base", folder, "build", "--build-base", folder / "build"]
    subprocess.run(
        [sys.executable, "setup.py", "-q", *build, "bdist_wheel", "--dist-dir", folder],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_all_that_is_no_code(wheel):
    held = zipfile.ZipFile(wheel).namelist()
    files = [path for path in (ROOT / "qa_lib").rglob("*.*") if "__pycache__" not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in files} <= set(held)
    assert any(name.endswith("share/jupyter/lab/settings/overrides.d/qa_lib.json") for name in held)
    assert not any(name.endswith("lab/settings/overrides.json") for name in held)  # which is the user's own


def test_an_installed_package_brings_its_data(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = "import qa_lib; print(qa_lib.__file__); print(len(qa_lib.load_workload('fashion_mnist_convnet').search_images))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(tmp_path / "qa_lib" / "__init__.py"), "4096"]


def test_without_a_place_for_the_compiler_s_cache_each_process_compiles_anew(monkeypatch):
    """As in a read-only package, without a home."""
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    names: dict = {}
    exec(compile("def double(number):\n    return 2 * number", "/proc/none/double.py", "exec"), names)
    assert compiled(names["double"])(4) == 8


def test_compiled_loops_are_kept_for_later_processes():
    found = subprocess.run(
        [sys.executable, "-c", "from qa_lib.quantization.fake_quantize import _one_pass as f; print(f.stats.cache_path)"],
        check=True, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert Path(found.stdout.strip()).is_dir()
