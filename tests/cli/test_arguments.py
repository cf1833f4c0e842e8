"""What the command line says before it has read anything that takes long."""

import subprocess
import sys

import pytest

from qa_lib.calibration.amax import all_methods
from qa_lib.cli.arguments import choices
from qa_lib.costs import COSTS
from qa_lib.export import FORMATS
from qa_lib.search.exploring import DEFAULT_PATIENCE
from qa_lib.search.yardstick import BY
from qa_lib.workloads.workload import known_workloads


def test_the_names_are_those_that_there_are():
    assert tuple(known_workloads())[: len(choices.WORKLOADS)] == choices.WORKLOADS
    assert all_methods() == choices.CALIBRATIONS
    assert tuple(COSTS) == choices.COSTS
    assert tuple(FORMATS) == choices.FORMATS
    assert choices.BY == BY
    assert choices.DEFAULT_PATIENCE == DEFAULT_PATIENCE


ANSWERED = """
import sys
from qa_lib.__main__ import main
try:
    status = main({arguments!r})
except SystemExit as ended:
    status = ended.code
assert "torch" not in sys.modules and "numpy" not in sys.modules, "it waits for torch"
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "search per-layer bit widths"),
        (
            ["explore", "--help"],
            0,
            "how amax is found, for each width: mse, max, percentile, entropy, output",
        ),
        (["explore", "--help"], 0, "they are used up, and the first one alone may take some 20"),
        ([], 0, "examples: python -m qa_lib explore"),
        (["export", "--help"], 0, "front.csv:3 (a row that explore wrote)"),
        (["evaluate", "--help"], 0, "python -m qa_lib evaluate out/front.csv:3 --holdout"),
        (["calibrate", "--help"], 0, "python -m qa_lib explore --calibration output.pt"),
        (["report", "--help"], 0, "python -m qa_lib report out/archive.sqlite"),
        (["evaluate", "four"], 2, "'four' is no setting; give 4 (one width everywhere)"),
        (["evaluate", "4", "--cost", "energy.csv"], 2, "there is no table 'energy.csv'"),
        (["calibrate", "--methods", "mse,median"], 2, "'median' is no method; known are mse, max"),
        (["calibrate", "--widths", "8,1"], 2, "'8,1' are no widths: give whole numbers from 2 to 16"),
        (["report", "a.sqlite", "--by", "luck"], 2, "invalid choice: 'luck'"),
        (["archive", "merge", "--help"], 0, "the archive that grows"),
        (["explore", "--min-acuracy", "0.9"], 2, "unrecognized arguments: --min-acuracy 0.9"),
        (
            ["explore", "--min-accuracy", "85"],
            2,
            "'85' is no share: give a number from 0 to 1, 0.85 for 85 %",
        ),
        (["explore", "--min-accuracy", "nan"], 2, "'nan' is no share"),
        (["explore", "--seconds", "inf"], 2, "'inf' is nothing to end by: give a number above 0"),
        (["explore", "--seed", "-1"], 2, "argument --seed: '-1'; give a whole number from 0 on"),
        (["explore", "--population-size", "1"], 2, "give a whole number from 2 on"),
        (["explore", "--lower", "1"], 2, "give a whole number from 2 to 16"),
        (["explore", "--workload", "cifar"], 2, "no workload 'cifar'; known are fashion_mnist, "),
        (["explore", "--cost", "energy.csv"], 2, "there is no table 'energy.csv'"),
        (["export", "--setting", "front.csv:1", "--format", "tflite"], 2, "invalid choice: 'tflite'"),
        (["explain"], 2, "invalid choice: 'explain'"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_help_and_mistakes_do_not_wait_for_torch(arguments, status, said, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ANSWERED.format(arguments=arguments)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == status, done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())
    if "--help" in arguments:
        assert max(map(len, done.stdout.splitlines())) <= 80
