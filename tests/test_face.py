"""What ``import qa_lib`` hands out."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import qa_lib


def test_each_name_is_there_and_is_what_its_folder_calls_so():
    tree = ast.parse(Path(qa_lib.__file__).read_text())
    for_editors = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qa_lib.")
        for alias in node.names
    }
    assert set(for_editors) == set(qa_lib.__all__)
    for name, module in for_editors.items():
        assert getattr(qa_lib, name) is getattr(sys.modules[module], name)
    assert set(qa_lib.__all__) <= set(dir(qa_lib)) and not hasattr(qa_lib, "enumerate_settings")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["--help", "archive --help", "archive check no.sqlite", "nonsense"])
def test_the_command_line_does_not_wait_for_torch_where_it_needs_none(arguments):
    code = (
        "import sys\nfrom qa_lib.__main__ import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True)
    assert run.stdout.endswith("False\n") and "Traceback" not in run.stderr


def test_torch_is_waited_for_by_those_who_need_it():
    code = "import sys, qa_lib, qa_lib.errors; qa_lib.QAError; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
