"""What terminals and shells do to a command."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow
EXPLORE = "-m qa_lib explore --workload fashion_mnist_convnet --evaluations 4 --population-size 2 --min-accuracy 0.1 --out"


def shell(command, **environment):
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHON": sys.executable} | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A folder with the archive of that search: what comes after is answered from it."""
    folder = tmp_path_factory.mktemp("out")
    assert shell(f"$PYTHON {EXPLORE} {folder}").returncode == 0
    return folder


@pytest.mark.parametrize("how", [">&- 2>&-", "2>&1 | head -1", ">/dev/full 2>/dev/full"])
def test_a_search_ends_as_ever_though_nobody_listens(once, how):
    page = once / "front.html"
    page.unlink(missing_ok=True)
    done = shell(f"set -o pipefail; $PYTHON {EXPLORE} {once} {how}")
    assert done.returncode == 0, done.stderr
    assert page.exists() and "Traceback" not in done.stderr


def test_a_terminal_with_few_letters_a_home_the_shell_left_alone_and_a_backend_that_does_not_exist(once):
    folder = once / "größe →"
    folder.mkdir()
    (folder / "archive.sqlite").write_bytes((once / "archive.sqlite").read_bytes())
    done = shell(
        f"$PYTHON {EXPLORE}='~/{folder.name}'",
        HOME=str(once),
        PYTHONIOENCODING="ascii",
        MPLBACKEND="nonsense",
    )
    assert done.returncode == 0, done.stderr
    assert (
        rf"Written: {once}/gr\xf6\xdfe \u2192/front.csv" in done.stdout and (folder / "front.html").exists()
    )


def test_each_file_is_written_on_its_own_after_the_front_is_printed(once):
    (once / "front.png").unlink(missing_ok=True)
    (once / "front.png").mkdir()
    try:
        done = shell(f"$PYTHON {EXPLORE} {once}")
    finally:
        (once / "front.png").rmdir()
    assert done.returncode == 2
    assert "front 1" in done.stdout
    assert "front.png' is a folder" in done.stderr
    assert f"Written: {once}/front.csv, {once}/front.html, {once}/holdout.csv" in done.stdout


@pytest.mark.parametrize("seconds", [0.3, 4.0])
def test_ctrl_c_before_there_is_anything_is_one_line(tmp_path, seconds):
    process = subprocess.Popen(
        [sys.executable, *EXPLORE.split(), str(tmp_path)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert "Traceback" not in err
    if "Written:" not in out:  # after it, Python itself may be ending, where nothing can be caught
        assert process.returncode == 130
        assert "qa_lib: stopped by Ctrl-C" in err or "Stopped before anything" in out
