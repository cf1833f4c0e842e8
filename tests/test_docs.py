"""The pages of the documentation: made without a warning, every link in them leads somewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parent.parent


def test_the_pages_are_made_without_a_warning(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "WARNING" not in made.stderr
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert (tmp_path / "notebooks" / f"{notebook.stem}.html").exists()
    for folder, names in {"evaluation": ["Evaluator"], "search": ["explore", "Exploration"]}.items():
        page = (tmp_path / "reference" / f"{folder}.html").read_text()
        assert all(f'id="qa_lib.{folder}.{name}"' in page for name in names)
