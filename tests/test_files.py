"""Files are written whole, through links, and nowhere else."""

import os
import stat
from pathlib import Path

import pytest

from qa_lib.errors import ReportError
from qa_lib.files import checked_file, project_folder, write_whole


def write(path, content="new"):
    write_whole(path, content, "the page", ReportError)


def test_what_was_there_keeps_its_mode_and_links_stay_links(tmp_path):
    target, link = tmp_path / "page.html", tmp_path / "latest.html"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    write(link)
    assert link.is_symlink() and target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest.html", "page.html"]


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "later")
    write(tmp_path / "link")
    assert (tmp_path / "later").read_text() == "new"


def test_bytes_and_text_of_any_alphabet(tmp_path):
    write(tmp_path / "größe.png", b"\x89PNG")
    write(tmp_path / "text", "größe\n")
    assert (tmp_path / "größe.png").read_bytes() == b"\x89PNG"
    assert (tmp_path / "text").read_bytes() == "größe\n".encode()


def test_the_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write("~/page.html")
    assert (tmp_path / "page.html").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "is a folder"),
        ("fifo", "a pipe"),
        ("readonly", "write-protected"),
        ("missing/page.html", "no folder that exists"),
        ("circle", "no name of a file"),
        ("x" * 300, "no name of a file"),
        ("zero\0byte", "no name of a file"),
    ],
)
def test_what_cannot_be_written_is_left_alone_and_said_before_anything_is_drawn(tmp_path, name, said):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "readonly").write_text("old")
    (tmp_path / "readonly").chmod(0o444)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for attempt in (lambda path: checked_file(path, "the page", ReportError), write):
        with pytest.raises(ReportError, match=said) as error:
            attempt(f"{tmp_path}/{name}")
        assert "the page" in str(error.value)
    assert (tmp_path / "readonly").read_text() == "old"
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("path", [None, 3, b"bytes", ["list"]], ids=repr)
def test_what_is_no_path(path):
    with pytest.raises(ReportError, match="give the name of a file for the page"):
        write(path)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(ReportError, match=r"No space left on device.*make room"):
        write(target)
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_notebooks_find_their_folders_from_anywhere(tmp_path, monkeypatch):
    checkout = Path(__file__).parent.parent
    monkeypatch.chdir(tmp_path)
    assert project_folder("figures") == checkout / "figures"
    # Installed without a checkout.
    installed = tmp_path / "site-packages" / "qa_lib" / "files.py"
    monkeypatch.setattr("qa_lib.files.__file__", str(installed))
    assert (
        project_folder("out/figures") == tmp_path / "out" / "figures"
        and (tmp_path / "out" / "figures").is_dir()
    )
