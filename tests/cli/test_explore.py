"""The command line, on a workload that takes no time."""

import copy
import dataclasses

import explorations
import numpy as np
import pandas as pd
import pytest
import torch

from qa_lib import Archive, Exploration, Workload, conv2d_predicate
from qa_lib.__main__ import main
from qa_lib.archive.file import ArchiveFile
from qa_lib.cli.result import report
from qa_lib.errors import ArchiveError
from qa_lib.export import load_setting
from qa_lib.sensitivities import SensitivityTable
from qa_lib.workloads import workload as workloads

pytestmark = pytest.mark.usefixtures("tiny_workload")


def text(printed):
    """What was printed, however it was wrapped."""
    return " ".join(printed.split())


ARGUMENTS = ["explore", "--workload", "tiny", "--evaluations", "20", "--population-size", "10"]


@pytest.mark.slow
def test_explore_prints_the_front_and_writes_it(tmp_path, capsys):
    assert main([*ARGUMENTS, "--min-accuracy", "0.5", "--out", str(tmp_path / "a" / "b")]) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if not line.startswith("Written")) <= 80
    shown = text(printed)
    front = pd.read_csv(tmp_path / "a" / "b" / "front.csv")
    assert front.columns.tolist() == [
        "accuracy",
        "expected_score",
        "total_bits",
        "mean_bits",
        "input",
        "shortcut",
        "conv1",
        "conv2",
    ]
    assert (tmp_path / "a" / "b" / "front.png").stat().st_size > 10_000
    page = tmp_path / "a" / "b" / "front.html"
    assert "shortcut" in page.read_text(encoding="utf-8") and str(page) in shown
    for line in ("100.00%", "float", "8 bits", "2 bits", "front 1", "input, shortcut, conv1, conv2"):
        assert line in shown
    widths = " ".join(str(int(front.loc[0, name])) for name in front.columns[4:])
    assert f"{front.loc[0, 'expected_score']:.2%}" in shown and "None of this was checked" in shown
    assert f"{front.loc[0, 'accuracy']:.2%}" in shown
    assert widths in shown


@pytest.mark.slow
def test_nothing_feasible_says_how_far_it_is(tmp_path, capsys):
    options = ["--min-accuracy", "1", "--upper", "3", "--out", str(tmp_path)]
    assert main([*ARGUMENTS, *options]) == 1
    assert "None reaches the minimum accuracy 100.00%: the nearest has" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "front.csv").empty


def test_nothing_feasible_says_which_layers_to_relax(tmp_path, capsys):
    def setting(widths, correct, images=100):
        return explorations.setting(widths, correct, 100, images)

    table = SensitivityTable(("input", "conv"), (2, 3, 4), np.array([[2.0, 1.0, 0.0], [8.0, 4.0, 0.0]]), 10)
    exploration = Exploration(
        ("input", "conv"), (setting((3, 3), 60),), setting((None, None), 90), {2: setting((2, 2), 5, images=20)},
        0.8, (2, 4), sensitivities=table,
    )  # fmt: skip
    assert report(exploration, tmp_path)[0] == 1
    printed = capsys.readouterr().out
    shown = text(printed)
    assert "these layers disturb most: conv (3 bits, 80 %), input (3 bits, 20 %)" in shown
    assert [line.split()[2] for line in printed.splitlines() if line.startswith("2 bits")] == ["infeasible"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workload", "nope"], "no workload 'nope'; known are tiny"),
        (["--min-accuracy", "85"], "0.85 for 85 %"),
        (["--lower", "8", "--upper", "2"], "swap them"),
        (["--upper", "40"], "'40'; give a whole number from 2 to 16"),
        (["--evaluations", "0"], "'0'; give a whole number from 1 on"),
        (["--full-passes", "0"], "--full-passes: '0' is nothing to end by: give a number above 0"),
        (["--patience", "-3"], "--patience: '-3' is nothing to end by"),
        (["--out", "/dev/null/out"], "/dev/null/out"),
        (["--max-drop", "5"], "--max-drop is 5.0; give a share from 0 to below 1"),
        (["--cost", "latency"], "'latency' is none of total_bits"),
        (["--cost", "missing.csv"], "there is no table 'missing.csv'"),
    ],
)
def test_mistakes_are_one_line_and_no_traceback(tmp_path, capsys, options, said):
    try:
        status = main([*ARGUMENTS, "--out", str(tmp_path), *options])
    except SystemExit as ended:  # before anything is read
        status = ended.code
    assert status == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(("qa_lib: ", "python -m qa_lib explore: error: argument --"))
    assert said in error


@pytest.mark.slow
def test_each_calibration_is_another_model_and_the_default_is_mse(tmp_path, capsys):
    def fingerprints():
        return set(Archive(tmp_path / "archive.sqlite").to_frame()["fingerprint"])

    run = [*ARGUMENTS, "--min-accuracy", "0.1", "--out", str(tmp_path)]
    assert main(run) == 0
    default = fingerprints()
    assert len(default) == 1
    assert main([*run, "--calibration", "mse"]) == 0
    assert fingerprints() == default
    assert main([*run, "--calibration", "max"]) == 0
    assert len(fingerprints()) == 2
    with pytest.raises(SystemExit) as exit_status:
        main([*run, "--calibration", "median"])
    assert exit_status.value.code == 2
    assert "mse, max, percentile, entropy, output" in capsys.readouterr().err.replace("'", "")


def test_help_says_what_comes_out(capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(["explore", "--help"])
    assert exit_status.value.code == 0
    shown = capsys.readouterr().out
    for word in ("front.csv", "front.png", "front.html", "--min-accuracy", "--seed", "Exit status"):
        assert word in shown


@pytest.mark.slow
def test_what_a_search_had_found_when_it_failed_is_printed(tmp_path, capsys, monkeypatch):
    """On a full disk, say."""
    write, calls = ArchiveFile.write_evaluation, []

    def full(*given, **named):
        calls.append(given)
        if len(calls) > 14:
            raise ArchiveError("the disk is full: make room")
        return write(*given, **named)

    monkeypatch.setattr(ArchiveFile, "write_evaluation", full)
    assert main([*ARGUMENTS, "--min-accuracy", "0.1", "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "front 1" in shown.out and "Stopped early" in shown.out and (tmp_path / "front.csv").exists()
    assert shown.err.strip().splitlines()[-1] == "qa_lib: the disk is full: make room"


@pytest.mark.slow
def test_a_front_is_checked_on_images_that_chose_nothing(
    tmp_path, capsys, tiny_model, images, labels, monkeypatch
):
    shown = torch.rand(300, 1, 6, 6, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        answers = tiny_model(shown).argmax(dim=1)
    tiny = Workload(
        "tiny", tiny_model, conv2d_predicate, images, labels, images, labels, shown, answers, tuple("abcde")
    )
    fresh = lambda: dataclasses.replace(tiny, model=copy.deepcopy(tiny_model))  # noqa: E731
    monkeypatch.setattr(workloads, "_builders", {"tiny": fresh})
    options = ["--min-accuracy", "0", "--out", str(tmp_path), "--max-drop"]
    assert main([*ARGUMENTS, *options, "0.9"]) == 0
    printed = capsys.readouterr()
    assert "Checking the front on 300 items" in printed.err
    assert "hold-out: 300 items that chose nothing" in text(printed.out) and "Tango" in text(printed.out)
    checked, front = pd.read_csv(tmp_path / "holdout.csv"), pd.read_csv(tmp_path / "front.csv")
    assert checked["total_bits"].tolist() == front["total_bits"].tolist()
    row = checked.iloc[0]
    assert f"{row['holdout_score']:.2%}" in text(printed.out)
    assert f"{100 * row['low']:.2f} to {100 * row['high']:.2f}" in text(printed.out)
    assert f"loses at most 90.00 points: {row['total_bits']:.0f} total bits" in text(printed.out)
    assert "On 300 items that chose nothing the front loses" in text(printed.out)
    assert main([*ARGUMENTS, *options, "0"]) == 0
    assert "No setting of the front loses nothing with 95% confidence" in text(capsys.readouterr().out)
    for wrong in ("-1", "nan", "inf", "1%"):
        with pytest.raises(SystemExit):
            main([*ARGUMENTS, *options, wrong])
        assert "argument --max-drop" in capsys.readouterr().err
    assert main([*ARGUMENTS, "--by", "score", *options, "0.5"]) == 0
    assert "compared by measured accuracy" in text(capsys.readouterr().out)
    # What an earlier run has written of another front is gone.
    assert main([*ARGUMENTS, "--min-accuracy", "1", "--upper", "3", "--out", str(tmp_path)]) == 1
    assert not (tmp_path / "holdout.csv").exists()


@pytest.mark.slow
def test_a_hold_out_set_that_has_chosen_the_front_takes_nothing_from_it(tmp_path, capsys):
    options = ["--min-accuracy", "0", "--out", str(tmp_path), "--max-drop", "0.1"]
    assert main([*ARGUMENTS, *options]) == 0
    printed = capsys.readouterr()
    assert "the front is not checked: 96 of the hold-out set's 96 items are in the search set" in printed.err
    assert "on a hold-out set (--max-drop): 96 of the hold-out set's 96 items are in the search set" in text(
        printed.out
    )
    assert "front 1" in text(printed.out)
    assert not (tmp_path / "holdout.csv").exists() and (tmp_path / "front.csv").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-drop", "abc"], "argument --max-drop: 'abc' is no drop: give a number from 0 up"),
        (["--widths", "2,x"], "argument --widths: '2,x' are no widths: give whole numbers"),
    ],
)
def test_words_that_are_no_numbers_are_said_to_be_none(capsys, options, said):
    with pytest.raises(SystemExit) as exit_status:
        main([*ARGUMENTS, *options])
    assert exit_status.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_by_another_cost_shows_it_and_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    options = ["--cost", "peak_activation_memory", "--other-costs", "bit_operations", "--min-accuracy", "0.5"]
    assert main([*ARGUMENTS, *options, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    front = pd.read_csv(tmp_path / "front.csv")
    assert front.columns[4:6].tolist() == ["peak_activation_memory", "bit_operations"]
    for said in (
        "peak activation memory (kB)",
        "bit operations (GBOPs)",
        f"{front['bit_operations'][0]:.6g}",
    ):
        assert said in shown.out
    assert f"{front['peak_activation_memory'][0]:.6g} kB" in shown.out
    page = (tmp_path / "front.html").read_text(encoding="utf-8")
    assert "peak activation memory (kB)" in page and "bit operations (GBOPs)" in page


@pytest.mark.slow
@pytest.mark.filterwarnings("always::qa_lib.errors.QAWarning")
def test_a_warning_is_one_line(tmp_path, capsys):
    options = ["--workload", "tiny", "--full-passes", "4", "--population-size", "10", "--min-accuracy", "0.5"]
    assert main(["explore", *options, "--out", str(tmp_path)]) == 0
    (warned,) = [
        line for line in capsys.readouterr().err.splitlines() if "the sensitivities count as" in line
    ]
    assert warned.startswith("qa_lib: ")


@pytest.mark.slow
def test_a_hold_out_set_that_is_none_is_refused_before_the_search(
    tmp_path, capsys, monkeypatch, tiny_model, images, labels
):
    bad = Workload(
        "bad", tiny_model, conv2d_predicate, images, labels, images, labels, images[:50], labels[:50]
    )
    object.__setattr__(bad, "holdout_labels", labels[:7])
    monkeypatch.setattr(workloads, "_builders", {"tiny": lambda: bad})
    assert main([*ARGUMENTS, "--min-accuracy", "0.5", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("qa_lib: the hold-out set of the workload: ") and "labels (7,)" in error
    assert not list(tmp_path.glob("front.*"))


def test_what_no_width_can_reach_is_said(tmp_path, capsys):
    exploration = Exploration(
        ("input", "conv"),
        (explorations.setting((3, 3), 60, 100),),
        explorations.setting((None, None), 90, 100),
        {},
        0.95,
        (2, 4),
    )
    assert report(exploration, tmp_path)[0] == 1
    assert "The float model itself has 90.00%: ask for less." in capsys.readouterr().out


@pytest.mark.slow
def test_a_row_of_a_front_is_handed_over(tmp_path, capsys):
    assert main([*ARGUMENTS, "--min-accuracy", "0.5", "--out", str(tmp_path)]) == 0
    front = pd.read_csv(tmp_path / "front.csv")
    export = ["export", "--workload", "tiny", "--out", str(tmp_path / "setting.json"), "--setting"]
    assert main([*export, f"{tmp_path / 'front.csv'}:2"]) == 0
    assert "as the front says" in capsys.readouterr().out
    handed_over = load_setting(tmp_path / "setting.json")
    assert handed_over.bit_widths == tuple(front.iloc[1][["input", "shortcut", "conv1", "conv2"]].astype(int))
    assert handed_over.facts["score"]["value"] == front["accuracy"][1]
    front.drop(columns="accuracy").to_csv(tmp_path / "scoreless.csv", index=False)
    front.astype(object).assign(conv1="wide").to_csv(tmp_path / "text.csv", index=False)
    for row, options, said in (
        ("scoreless.csv:1", [], "has no column 'accuracy'"),
        ("text.csv:2", [], "row 2 of"),
        (f"front.csv:{len(front) + 1}", [], f"has {len(front)} rows, and row {len(front) + 1} is asked for"),
        ("none.csv:1", [], "is no front that can be read"),
        (
            "front.csv:1",
            ["--calibration", "max"],
            "give the --workload and --calibration that it was found with",
        ),
    ):
        assert main([*export, str(tmp_path / row), *options]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*export, "front.csv"])
    assert "'front.csv' names no row of a file: give front.csv:3" in capsys.readouterr().err
