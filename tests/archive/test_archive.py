"""What is written stays, what is foreign is left alone, and what went wrong is said."""

import multiprocessing
import os
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from archive_rows import FACTS, row

from qa_lib import Archive
from qa_lib.archive import Row
from qa_lib.archive.file import ArchiveFile
from qa_lib.errors import ArchiveError


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "archive.sqlite")


def test_what_is_written_is_read_by_the_next_one(archive):
    archive.write("a", row(), FACTS)
    again = Archive(archive.path)
    assert again.read("a", [(4, None), (5, 5)]) == {(4, None): row()}
    assert again.read("b", [(4, None)]) == {}
    assert again.read_all("a") == [row()]
    assert again.read_all("b") == []


def test_without_a_path_it_is_in_memory():
    archive = Archive()
    archive.write("a", row(), FACTS)
    assert archive.read_all("a") == [row()]
    assert Archive().read_all("a") == []


def test_fewer_images_never_replace_more(archive):
    for counts, kept in (((9,), (9,)), ((9, 8), (9, 8)), ((9,), (9, 8)), ((9, 8, 4), (9, 8, 4))):
        archive.write("a", row(counts=counts), FACTS)
        assert archive.read_all("a") == [row(counts=kept)]


@pytest.mark.parametrize("batch_size", [1, 255, 256, 65_535, 65_536, 10_000_000])
def test_counts_of_any_size_come_back(archive, batch_size):
    counts = (batch_size, 0, batch_size - 1)
    archive.write("a", row(counts=counts), FACTS | {"batch_size": batch_size})
    assert archive.read_all("a") == [row(counts=counts)]


def test_the_frame_tells_measured_from_stopped(archive):
    archive.write("a" * 64, row(), FACTS)
    archive.write("a" * 64, row((2, 3), (1, 0)), FACTS)
    archive.write(
        "b" * 64, Row((5,), (20,), 40, 0.5, 0.5), {"names": ["other"], "batch_size": 40, "images": 40}
    )
    frame = archive.to_frame()
    assert frame.columns.tolist() == [
        *("fingerprint", "accuracy", "upper_bound", "images", "complete", "total_bits", "seconds"),
        *("input", "conv", "other"),
    ]
    assert frame["fingerprint"].tolist() == ["a" * 12, "a" * 12, "b" * 12]
    assert frame["accuracy"].fillna(-1).tolist() == [21 / 25, -1, 20 / 40]
    assert frame["upper_bound"].tolist() == [21 / 25, 6 / 25, 20 / 40]
    assert frame["complete"].tolist() == [True, False, True]
    assert frame["total_bits"].tolist() == [36, 5, 5]
    assert frame["conv"].isna().tolist() == [True, False, True]
    assert archive.to_frame("b" * 12)["images"].tolist() == [40]  # as the frame shows it
    assert Archive().to_frame().columns.tolist()[:2] == ["fingerprint", "accuracy"]


def test_five_hundred_evaluations_are_small(archive):
    facts = {"names": [f"layer{n}" for n in range(53)], "batch_size": 16, "images": 4096}
    generator = np.random.default_rng(0)
    for _ in range(500):
        widths = tuple(generator.integers(2, 9, 53).tolist())
        counts = tuple(generator.integers(0, 17, 256).tolist())
        archive.write("a", Row(widths, counts, 4096, 1.0, 0.5), facts)
    archive.close()
    assert archive.path.stat().st_size < 500_000


def write_many(path, first):
    archive = Archive(path)
    for index in range(first, 400, 2):
        archive.write("a", row((2 + index % 15, 2 + index // 15 % 15), (index % 10,)), FACTS)
        archive.write("b", row((2, 2), (1,) * (1 + index % 3)), FACTS)


@pytest.mark.slow
def test_two_processes_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "archive.sqlite"
    processes = [context.Process(target=write_many, args=(path, first)) for first in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    widths = {(2 + index % 15, 2 + index // 15 % 15) for index in range(400)}
    assert {r.bit_widths for r in Archive(path).read_all("a")} == widths
    assert Archive(path).read_all("b") == [row((2, 2), (1, 1, 1))]


def foreign_database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.commit()
    connection.close()


def newer_format(path):
    Archive(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()


def cut_short(path):
    archive = Archive(path)
    for index in range(300):
        archive.write("a", row((2 + index % 15, 2 + index // 15)), FACTS)
    archive.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def overwritten(path):
    archive = Archive(path)
    for index in range(300):
        archive.write("a", row((2 + index % 15, 2 + index // 15)), FACTS)
    archive.close()
    content = bytearray(path.read_bytes())
    content[4096:-1] = os.urandom(len(content) - 4097)
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("layer,bits\n"), "not an archive of evaluations"),
        (foreign_database, "another program's file"),
        (newer_format, "has format 99"),
        (cut_short, "damaged"),
        (overwritten, "damaged"),
    ],
    ids=["text", "foreign database", "newer format", "cut short", "overwritten"],
)
def test_files_that_are_no_sound_archive_are_refused_and_left_alone(tmp_path, make, said):
    path = tmp_path / "archive.sqlite"
    make(path)
    before = path.read_bytes()
    with pytest.raises(ArchiveError, match=said) as caught:
        Archive(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["archive.sqlite"]


def test_an_empty_file_becomes_an_archive(tmp_path):
    """What is left of one whose process was killed before its first write."""
    (tmp_path / "archive.sqlite").touch()
    archive = Archive(tmp_path / "archive.sqlite")
    archive.write("a", row(), FACTS)
    assert archive.read_all("a") == [row()]


def test_a_folder_that_is_not_there_or_is_the_path_itself(tmp_path):
    with pytest.raises(ArchiveError, match="there is no folder"):
        Archive(tmp_path / "runs" / "archive.sqlite")
    with pytest.raises(ArchiveError, match="is a folder"):
        Archive(tmp_path)


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="/sys is what no one can write to on Linux")
def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(ArchiveError, match="cannot be read or written"):
        Archive("/sys/archive.sqlite")


FILL_UP = """
import resource, sys
from qa_lib import Archive, errors
from qa_lib.archive import Row
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
archive, written = Archive(sys.argv[1]), 0
try:
    for index in range(100_000):
        archive.write("a", Row((2 + index % 15, 2 + index // 15 % 15, 2 + index // 225), (1,) * 50, 50, 0.0, 1.0),
            {"names": ["a", "b", "c"], "batch_size": 1, "images": 50})
        written += 1
except errors.ArchiveError as error:
    print(written, error)
"""


@pytest.mark.slow
def test_a_full_disk_is_said_and_costs_nothing_that_was_written(tmp_path):
    path = tmp_path / "archive.sqlite"
    done = subprocess.run([sys.executable, "-c", FILL_UP, path], capture_output=True, text=True, check=True)
    written, said = done.stdout.split(maxsplit=1)
    assert "the disk is full, or failing" in said and "what was written before is kept" in said
    assert int(written) > 100
    assert len(Archive(path).read_all("a")) == int(written)


def test_full_as_sqlite_says_it(archive):
    file = ArchiveFile.of(archive.path)
    file.transact(lambda connection: connection.execute("PRAGMA max_page_count = 12"))
    written = 0
    with pytest.raises(ArchiveError, match="the disk is full"):
        for index in range(10_000):
            archive.write("a", row((2 + index % 15, 2 + index // 15 % 15), (1,) * 500), FACTS)
            written += 1
    file.transact(lambda connection: connection.execute("PRAGMA max_page_count = 100000"))
    file.release()
    archive.write("b", row(), FACTS)
    assert archive.read_all("b") == [row()]
    assert len(archive.read_all("a")) == written
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_sensitivities_are_kept_by_digest(archive):
    assert archive.read_sensitivities("a") == {}
    archive.write_sensitivity("a", 0, 4, 0.25)
    archive.write_sensitivity("a", 3, 4, 0.5)
    archive.write_sensitivity("b", 0, 4, 0.75)
    archive.write_sensitivity("a", 3, 4, 0.125)
    again = Archive(archive.path)
    assert again.read_sensitivities("a") == {(0, 4): 0.25, (3, 4): 0.125}
    assert again.read_sensitivities("b") == {(0, 4): 0.75}


SECOND_PROCESS = """
import sys
from qa_lib import Archive
from qa_lib.archive import Row
facts = {"names": ["input", "conv"], "batch_size": 10, "images": 25}
with Archive(sys.argv[1]) as archive:
    for index in range(int(sys.argv[2]), int(sys.argv[2]) + 200):
        archive.write("b", Row((2 + index % 250, 2 + index // 250), (9, 8, 4), 25, 0.5, 21 / 25), facts)
"""


@pytest.mark.slow
def test_two_archives_of_a_file_in_one_process_and_a_second_process(tmp_path):
    """A search set and a hold-out set on one path, in two kernels."""
    path = tmp_path / "archive.sqlite"
    search = Archive(path)
    search.write("a", row((99, 99)), FACTS)
    holdout, written = Archive(path), 0
    for turn in range(2):
        command = [sys.executable, "-W", "ignore", "-c", SECOND_PROCESS, path, str(200 * turn)]
        with subprocess.Popen(command) as second:
            while second.poll() is None:  # from before it opens the file until after it has closed it
                (search, holdout)[turn].write("a", row((2 + written % 90, 2 + written // 90)), FACTS)
                written += 1
                time.sleep(0.02)
    search.close()
    holdout.close()
    assert [len(Archive(path).read_all(name)) for name in "ab"] == [written + 1, 400]


def test_nothing_but_sqlite_opens_the_file(tmp_path):
    """Closing any other descriptor of it would drop the process's locks."""
    path, opened = tmp_path / "archive.sqlite", []
    watching = [True]

    def hook(event, arguments):
        if watching and event == "open" and str(path) in str(arguments[0]):
            opened.append(arguments[0])

    sys.addaudithook(hook)
    with Archive(path) as archive, Archive(path) as again:
        archive.write("a", row(), FACTS)
        again.to_frame()
    with pytest.raises(ArchiveError, match="was closed"):
        archive.read_all("a")
    Archive(path).write_sensitivity("a", 0, 4, 0.25)
    assert not opened
    path.read_bytes()
    assert opened  # the hook sees it
    watching.clear()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="Linux says there who holds what")
def test_another_archive_of_the_file_leaves_the_locks_of_the_first(tmp_path):
    path = tmp_path / "archive.sqlite"
    Archive(path).close()
    inode = path.stat().st_ino

    def look(connection):
        Archive(path).close()
        return [line for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line]

    held = ArchiveFile.of(path).transact(look, writing=True)
    assert any(f" {os.getpid()} " in line for line in held)


def test_what_is_in_the_file_alone_is_everything(archive, tmp_path):
    for index in range(200):
        archive.write("a", row((2 + index, 2)), FACTS)
    copy = tmp_path / "copy.sqlite"
    subprocess.run(["cp", archive.path, copy], check=True)
    assert len(Archive(copy).read_all("a")) == 200
    archive.close()
    assert sorted(found.name for found in tmp_path.iterdir()) == ["archive.sqlite", "copy.sqlite"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_a_connection_of_its_own(archive):
    archive.write("a", row((2, 2)), FACTS)
    child = os.fork()
    if not child:
        try:
            for index in range(3, 53):
                archive.write("a", row((2 + index, 3)), FACTS)
            archive.close()
        finally:
            os._exit(0)
    for index in range(3, 53):
        archive.write("a", row((2 + index, 4)), FACTS)
    assert os.waitpid(child, 0)[1] == 0
    assert len(archive.read_all("a")) == 101
    archive.close()
    assert len(Archive(archive.path).read_all("a")) == 101
