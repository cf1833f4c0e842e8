"""Where it runs: installed as a package, without a home, with folders that cannot be written to."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from pymoo.optimize import minimize

from qa_lib import Evaluator, LayerwiseQuantizationProblem, sensitivity
from qa_lib.compiled import compiled
from qa_lib.errors import ArchiveError
from qa_lib.search import FullPasses, ScreenedNSGA2, SensitivitySampling, StepMutation

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="70.1")  # earlier ones make none by themselves
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
    assert any(name.endswith("etc/jupyter/jupyter_server_config.d/qa_lib.json") for name in held)
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


@pytest.fixture
def unprivileged():
    """As a user who may not write everywhere."""
    if os.geteuid():
        yield
    else:
        os.seteuid(65534)
        yield
        os.seteuid(0)


def test_an_archive_in_a_read_only_folder_is_read(qmodel, images, labels, unprivileged):
    folder = Path(tempfile.mkdtemp())  # pytest's own are root's alone
    options = {"batch_size": 40, "archive": folder / "archive.sqlite"}
    with Evaluator(qmodel, images, labels, **options) as evaluator:
        expected = evaluator.evaluate([4] * 4)
    options["archive"].chmod(0o444)
    folder.chmod(0o555)
    try:
        with Evaluator(qmodel, images, labels, **options) as evaluator:
            before = evaluator.images_forwarded
            assert evaluator.evaluate([4] * 4) == expected and evaluator.images_forwarded == before
            assert len(evaluator.archive.to_frame()) == 1
            with pytest.raises(ArchiveError, match="give a path in a folder of your own"):
                evaluator.evaluate([5] * 4)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.filterwarnings(
    "ignore:You are using `torch.load`:FutureWarning"
)  # torch 2.4 in unpickling a tensor
def test_what_an_archive_on_disk_holds_goes_to_other_processes(qmodel, images, labels, tmp_path):
    evaluator = Evaluator(qmodel, images, labels, batch_size=40, archive=tmp_path / "archive.sqlite")
    expected = evaluator.evaluate([4] * 4)
    table = sensitivity(qmodel, images, num_bits_upper_limit=4, progress=False)
    algorithm = ScreenedNSGA2(
        table, pop_size=4, sampling=SensitivitySampling(table), mutation=StepMutation(table)
    )
    problem = LayerwiseQuantizationProblem(qmodel, evaluator, num_bits_upper_limit=4)
    minimize(problem, algorithm, FullPasses(4), seed=1)
    twin, _, _ = pickle.loads(pickle.dumps((evaluator, algorithm, problem)))
    assert twin.recall([4] * 4) == expected
    assert twin.evaluate([4] * 4, remeasure=True) == expected
    with pytest.raises(ArchiveError, match="give it a path"):
        pickle.dumps(Evaluator(qmodel, images, labels))


def test_compiled_loops_are_kept_for_later_processes():
    found = subprocess.run(
        [sys.executable, "-c", "from qa_lib.quantization.fake_quantize import _one_pass as f; print(f.stats.cache_path)"],
        check=True, capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert Path(found.stdout.strip()).is_dir()
