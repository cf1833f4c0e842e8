"""The benchmarks run, and what they compare agrees. How fast it was is for people to read."""

import os
import re
import runpy
import subprocess
import sys
import warnings

import pytest
import torch

pytestmark = pytest.mark.slow
# Where time is short, the two that carry what the README says of evaluating and of the search.
in_full = pytest.mark.skipif(bool(os.environ.get("BRIEF")), reason="`make test` without BRIEF runs it")


@pytest.fixture
def run(request, monkeypatch, capsys):
    """Runs a benchmark's short form in this process, which has imported what it needs; what it prints."""
    folder = request.config.rootpath / "benchmarks"

    def run_script(script, *options):
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setattr(sys, "argv", [script, "--quick", *options])
        threads = torch.get_num_threads()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runpy.run_path(str(folder / f"{script}.py"), run_name="__main__")
        finally:
            torch.set_num_threads(threads)
        printed = capsys.readouterr().out
        print(printed)
        assert printed.startswith("work: ")
        return printed

    return run_script


@in_full
def test_forward(run):
    printed = run("forward")
    differences = re.findall(r"largest difference to the toolkit: (\S+)", printed)
    assert differences == ["0.0"] * 4
    assert len(re.findall(r"^ratio to float", printed, re.MULTILINE)) == 4


def test_evaluation(run):
    printed = run("evaluation")
    assert "identical fronts in plain's layout and batch size: True" in printed
    assert int(re.search(r"largest difference at the engine's own\n  setting: (\d+)", printed)[1]) <= 2
    # Counted, not timed.
    assert float(re.search(r"ratio of image forwards, engine to plain: (\S+)", printed)[1]) < 0.75
    assert printed.splitlines()[-1].startswith("ratio of seconds")


@in_full
def test_calibration(run):
    printed = run("calibration", "--networks", "reference")
    assert "largest difference to the toolkit's max: 0.0" in printed
    assert len(re.findall(r"^ratio, reference", printed, re.MULTILINE)) == 7


@in_full
@pytest.mark.parametrize(
    "script", ["plain", "incremental", "replicas", "archive", "panel", "being_sure", "costs", "weights"]
)
def test_the_others(run, script):
    run(script)


@in_full
def test_archive_by_force(request):
    # It forks, which a process that has run torch's threads must not.
    command = [sys.executable, "-W", "ignore", "benchmarks/archive_by_force.py", "--quick"]
    done = subprocess.run(command, cwd=request.config.rootpath, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    acknowledged, lost, wrong, damaged, twice = re.search(
        r"(\d+) rows acknowledged, (\d+) of them lost, (\d+) wrong; (\d+) files damaged; (\d+) settings",
        printed,
    ).groups()
    assert int(acknowledged) > 20
    assert (lost, wrong, damaged, twice) == ("0", "0", "0", "0")


def test_search(run):
    printed = run("search")
    passes = re.search(r"ratio of full passes, ours to plain's: (\S+) \((\S+) passes\)", printed)
    # Counted, not timed. Infinite if the budget did not suffice.
    assert float(passes[1]) <= 0.033
    # On images that did not choose it the front is worth less than it seems, and not nothing.
    found = re.findall(r"after +33 full passes: (\S+) \(\S+ to \S+\), on the search set (\S+);", printed)
    assert all(0.3 < float(held_out) < float(searched) for held_out, searched in found) and len(found) == 2
    assert printed.splitlines()[-1].startswith("ratio of seconds")


@in_full
def test_leave_one_out(run):
    printed = run("leave_one_out")
    found = dict(re.findall(r"^  (.+): (\S+) after 15 full passes$", printed, re.MULTILINE))
    assert len(found) == 5 and float(found["everything"]) > 0.3


@in_full
def test_truth(run):
    printed = run("truth")
    assert "1024 settings" in printed
    found = re.search(r"ours after full passes 25: .*; 50: (\S+) ", printed)
    assert 0.8 < float(found[1]) <= 1.0
    # On images that chose nothing, against the best there is on those.
    worth = dict(re.findall(r"^  (.+) after full passes 25: \S+, 50: (\S+)$", printed, re.MULTILINE))
    assert len(worth) == 10 and 0.6 < float(worth["ours"]) < 1.0
