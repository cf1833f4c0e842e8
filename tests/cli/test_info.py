"""What a report of a fault has to say."""

import platform

import torch

import qa_lib
from qa_lib.__main__ import main


def test_one_screen_says_where_it_runs(tmp_path, capsys):
    archive = tmp_path / "a.sqlite"
    assert main(["info", "--archive", str(archive)]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 24 and max(map(len, shown.splitlines())) < 200
    for fact in (platform.python_version(), torch.__version__, qa_lib.__version__, f"none at {archive}",
                 torch.backends.cpu.get_cpu_capability()):  # fmt: skip
        assert fact in " ".join(shown.split())
    with qa_lib.Archive(archive):
        pass
    main(["info", "--archive", str(archive)])
    assert f"{archive}, " in " ".join(capsys.readouterr().out.split())
