"""One setting, calibrations, and what an archive holds, on a workload that takes no time."""

import copy
import dataclasses
import json

import pandas as pd
import pytest
import torch

from qa_lib import Archive, Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate
from qa_lib.__main__ import main
from qa_lib.cli.arguments.model import Setting, setting
from qa_lib.export import load_setting
from qa_lib.export.settings import as_widths
from qa_lib.search.intervals import drops_of_shares
from qa_lib.workloads import workload as workloads

pytestmark = pytest.mark.usefixtures("tiny_workload")


@pytest.fixture
def run(tmp_path, capsys):
    """Runs a command on the tiny workload, and returns its status, its text on one line, and what was said beside it."""

    def run(*arguments, archive=True):
        more = ["--archive", str(tmp_path / "archive.sqlite")] if archive else []
        status = main([*map(str, arguments), "--workload", "tiny", *more])
        printed = capsys.readouterr()
        return status, " ".join(printed.out.split()), printed.err

    return run


@pytest.fixture
def explored(tmp_path, capsys):
    """A folder that explore has written into, and the first row of its front."""
    options = [
        "--workload",
        "tiny",
        "--evaluations",
        "20",
        "--population-size",
        "10",
        "--min-accuracy",
        "0.5",
    ]
    assert main(["explore", *options, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    return tmp_path, pd.read_csv(tmp_path / "front.csv").iloc[0]


@pytest.fixture
def by_hand(tiny_model, images, labels):
    """Which images a setting has right, and the float model, measured otherwise."""
    qmodel = QuantizedActivationsModel(copy.deepcopy(tiny_model), conv2d_predicate)
    calibrate(qmodel, images)
    evaluator = Evaluator(qmodel, images, labels)

    def right(widths):
        _, items = evaluator.evaluate_items([[None] * 4, widths])
        return [each[:, 0] > 0 for each in items]

    return right


@pytest.mark.parametrize(
    ("text", "widths"),
    [
        ("3", (3, 3, 3, 3)),
        ("8,4,3,float", (8, 4, 3, None)),
        ("conv1=None,input=f", (None, 8, None, 8)),
        ("conv1=4,input=3", (3, 8, 4, 8)),
    ],
)
def test_one_setting_is_measured_and_said_to_be_as_sure_as_it_is(run, by_hand, text, widths):
    model, right = by_hand(widths)
    low, high = drops_of_shares(model, right[None], 0.9)
    status, shown, _ = run("evaluate", text, "--level", "0.9")
    assert status == 0
    assert f"accuracy {right.mean():.2%} on the 96 items of the search set" in shown
    assert f"drop {100 * (model.mean() - right.mean()):.2f} points" in shown
    assert f"with 90% confidence the drop is {100 * low[0]:.2f} to {100 * high[0]:.2f} points" in shown
    assert f"total bits {sum(n or 32 for n in widths)}, " in shown and "archive keeps it now" in shown
    status, document, err = run("evaluate", text, "--json")
    found = json.loads(document)
    assert (
        found["answered"]
        and found["score"] == right.mean()
        and list(found["bit_widths"].values()) == list(widths)
    )
    assert found["costs"]["peak activation memory"]["unit"] == "kB" and "answered it" in " ".join(err.split())


@pytest.mark.slow
def test_a_row_of_a_front_and_what_export_wrote_score_what_they_say(run, explored):
    folder, row = explored
    status, shown, _ = run("evaluate", folder / "front.csv:1")
    assert status == 0 and f"accuracy {row['accuracy']:.2%}" in shown and ", as row 1 of" in shown
    status, shown, _ = run("evaluate", folder / "front.csv:1", "--calibration", "max")
    assert status == 0 and "found with another --workload or --calibration" in shown
    assert run("export", "--setting", folder / "front.csv:1", "--out", folder / "setting.json")[0] == 0
    # With the amax in the file, whatever the calibration is now.
    status, shown, _ = run("evaluate", folder / "setting.json", "--calibration", "max")
    assert status == 0 and f"accuracy {row['accuracy']:.2%}" in shown and ", as '" in shown
    status, document, _ = run(
        "export", "--setting", folder / "setting.json", "--out", folder / "again.json", "--json"
    )
    assert status == 0 and json.loads(document)["score"] == row["accuracy"]
    grids = [json.loads((folder / name).read_text())["quantizers"] for name in ("setting.json", "again.json")]
    assert grids[0] == grids[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["8,8"], "bit_widths has 2 values, but the model has 4"),
        (["conv9=4"], "bit_widths names ['conv9'], which this model does not have"),
        (["1"], "the width of 'input' is 1; allowed are whole numbers from 2 to 16"),
        (["none.json"], "cannot be read as a setting"),
    ],
)
def test_a_setting_of_another_model_is_one_line(run, options, said):
    status, shown, err = run("evaluate", *options)
    assert status == 2 and not shown and said in err and len(err.splitlines()) == 1
    status, shown, _ = run("evaluate", *options, "--json")
    assert status == 2 and said in json.loads(shown)["error"]


@pytest.mark.parametrize("text", ["", "four", "8,x", "a=1,a=2", "a=b", "8,a=4", "front.csv", "front.csv:0"])
def test_what_is_no_setting_is_said_before_anything_is_read(text, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", text])
    assert ended.value.code == 2 and "argument SETTING: " in capsys.readouterr().err


def test_names_may_hold_what_settings_do():
    assert setting("a=b=4").by_name == {"a=b": 4}
    assert setting("a b = 4, c=-") == Setting(by_name={"a b": 4, "c": None})


@pytest.mark.parametrize("word", ["float", "None", "null", "f", "-", "Float", "none"])
def test_float_is_taken_in_every_spelling_that_is_offered(word):
    assert setting(f"4,{word},4") == Setting(widths=(4, None, 4))
    assert setting(f"input={word}, conv1=4") == Setting(by_name={"input": None, "conv1": 4})
    assert setting(word) == Setting(uniform=(None,))
    if word != "-":
        assert as_widths(f"[4, {word}]") == [4, None] and as_widths(f"{{'a': {word}}}") == {"a": None}


def test_what_is_no_setting_is_told_of_float(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "8,x"])
    assert "float or None leaves one in float" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_export_replaces_only_what_out_names(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("export", "--setting", "4")[0] == 0
    written = (tmp_path / "setting.json").read_text()
    assert run("export", "--setting", "3", "--format", "state_dict")[0] == 0
    assert load_setting(tmp_path / "setting.pt.json").bit_widths == (3,) * 4
    for format, there in (("json", "setting.json is"), ("state_dict", "setting.pt and setting.pt.json are")):
        status, shown, err = run("export", "--setting", "5", "--format", format)
        assert status == 2 and not shown
        assert err == f"qa_lib: {there} there already: give --out FILE, which replaces what is there\n"
    assert (tmp_path / "setting.json").read_text() == written
    assert run("export", "--setting", "3", "--out", "setting.json")[0] == 0
    assert (tmp_path / "setting.json").read_text() != written


def test_the_hold_out_set_is_another(run, tiny_workload, images, labels, monkeypatch):
    unwrapped = copy.deepcopy(tiny_workload.model)
    other = dataclasses.replace(tiny_workload, holdout_images=images[:64] / 2, holdout_labels=labels[:64])
    monkeypatch.setattr(workloads, "_builders", {"tiny": lambda: other})
    status, shown, _ = run("evaluate", "8", "--holdout")
    assert status == 0 and "on the 64 items of the hold-out set" in shown
    none = dataclasses.replace(other, holdout_images=None, holdout_labels=None)
    none = dataclasses.replace(none, model=copy.deepcopy(unwrapped))
    monkeypatch.setattr(workloads, "_builders", {"tiny": lambda: none})
    status, _, err = run("evaluate", "8", "--holdout")
    assert status == 2 and "has no hold-out set: leave --holdout out" in err


@pytest.mark.slow
def test_each_method_is_scored_and_one_is_kept(
    run, tmp_path, tiny_model, images, labels, tiny_workload, monkeypatch
):
    status, document, _ = run("calibrate", "--methods", "max,mse", "--widths", "4,2", "--json")
    methods = {row["method"]: row["scores"] for row in json.loads(document)["methods"]}
    for method, scores in methods.items():
        qmodel = QuantizedActivationsModel(copy.deepcopy(tiny_model), conv2d_predicate)
        calibrate(qmodel, images, method=method)
        evaluator = Evaluator(qmodel, images, labels)
        assert scores == [evaluator.evaluate_uniform(n).score for n in (4, 2)]
    assert status == 0 and list(methods) == ["max", "mse"]
    kept = tmp_path / "kept.pt"
    assert run("calibrate", "--methods", "max", "--out", kept)[0] == 0
    by_method = json.loads(run("evaluate", "3", "--calibration", "max", "--json")[1])
    by_file = json.loads(run("evaluate", "3", "--calibration", kept, "--json")[1])
    assert by_file["score"] == by_method["score"] and by_file["answered"]  # under the same fingerprint
    assert by_file["score"] != json.loads(run("evaluate", "3", "--json")[1])["score"]
    with torch.no_grad():
        next(tiny_workload.model.parameters()).add_(1.0)
    monkeypatch.setattr(workloads, "_builders", {"tiny": lambda: tiny_workload})
    status, _, err = run("evaluate", "3", "--calibration", kept)
    assert status == 2 and "was made for other weights than the workload's" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--methods", "max,mse", "--out", "a.pt"], "--methods are max, mse: give one of them"),
        (["--methods", "max", "--out", "a.bin"], "give a name that ends in .pt"),
        (["--methods", "max", "--out", "/none/a.pt"], "lies in no folder that exists"),
    ],
)
def test_what_cannot_be_kept_is_said_before_anything_is_run(run, options, said):
    status, shown, err = run("calibrate", *options)
    assert status == 2 and not shown and said in err


def test_a_file_that_is_no_calibration_is_said_to_be_none(run, tmp_path, capsys):
    (tmp_path / "text.pt").write_text("no")
    status, _, err = run("evaluate", "4", "--calibration", tmp_path / "text.pt")
    assert status == 2 and "cannot be read as a calibration" in err
    torch.save({}, tmp_path / "empty.pt")
    status, _, err = run("evaluate", "4", "--calibration", tmp_path / "empty.pt")
    assert status == 2 and "is no calibration of this model" in err
    for wrong, said in (("median", "is none of mse, max"), ("none.pt", "there is no file")):
        with pytest.raises(SystemExit):
            main(["evaluate", "4", "--calibration", wrong])
        assert said in capsys.readouterr().err


def test_an_archive_becomes_the_same_front_without_a_model(explored, capsys, monkeypatch):
    folder, _ = explored
    monkeypatch.setattr(workloads, "_builders", {})
    report = ["report", str(folder / "archive.sqlite"), "--min-accuracy", "0.5"]
    assert main(report) == 0
    shown = capsys.readouterr().out
    assert "front 1" in shown and "fingerprint" in shown and "answered" not in shown
    front = pd.read_csv(folder / "report" / "front.csv")
    pd.testing.assert_frame_equal(front, pd.read_csv(folder / "front.csv"))
    assert (folder / "report" / "front.html").stat().st_size > 1_000_000
    assert main([*report, "--json", "--out", str(folder / "b")]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [row["total_bits"] for row in found["front"]] == front["total_bits"].tolist()
    assert found["files"][0] == str(folder / "b" / "front.csv") and "front 1" in printed.err
    assert main(["report", str(folder / "none.sqlite")]) == 2
    assert "there is no archive at" in capsys.readouterr().err and not (folder / "none.sqlite").exists()


@pytest.mark.slow
def test_a_resumed_search_says_what_the_archive_answered_and_scripts_read_it(explored, capsys):
    folder, _ = explored
    known = len(Archive(folder / "archive.sqlite").to_frame()) - 1  # the float model is no candidate
    options = ["--workload", "tiny", "--population-size", "10", "--min-accuracy", "0.5", "--out", str(folder)]
    assert main(["explore", *options, "--evaluations", "40", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    asked, answered = found["candidates"], found["answered"]
    assert 10 <= known - 2 <= answered <= known < asked  # what was stopped may be measured on
    assert (
        f"{answered} of {asked} evaluations answered from the archive, {asked - answered} measured."
        in printed.err
    )
    assert found["front"][0].keys() >= {"name", "accuracy", "expected_score", "total_bits", "bit_widths"}
    assert (
        found["front"][0]["name"] == "front 1"
        and found["baselines"][0]["name"] == "float"
        and found["baselines"][1]["bit_widths"] == [2] * 4
    )
    assert "Estimate, from what was just measured: " in printed.err and "\r" not in printed.err


@pytest.mark.parametrize(
    "command", [["workloads"], ["info"], ["archive", "check", "{}"], ["archive", "copy", "{}", "{}.b"]]
)
def test_each_command_prints_one_document(command, tmp_path, capsys):
    with Archive(tmp_path / "a"):
        pass
    assert main([part.format(tmp_path / "a") for part in command] + ["--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) and printed.err


def test_without_arguments_it_says_what_there_is(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert shown.count("  python -m qa_lib ") == 3 and "evaluate" in shown
    assert max(map(len, shown.splitlines())) <= 80
