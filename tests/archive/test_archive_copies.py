"""Taking results along: copies, merging, and a look at what is in a file, damaged or not."""

import random
import sqlite3
import subprocess

import numpy as np
import pytest
from archive_rows import FACTS, row, rows, write_earlier

from qa_lib import Archive
from qa_lib.__main__ import main
from qa_lib.archive import Row, check_archive, save_what_is_whole, tables
from qa_lib.archive.faults import faults_of
from qa_lib.errors import ArchiveError, QAWarning

DESCRIBED = FACTS | {
    "network": "ResNet", "model": "0123456789abcdef", "data": "fedcba9876543210", "metric": "accuracy",
    "environment": {"device": "cpu", "cpu_capability": "AVX2", "torch": "2.14.1"},
}  # fmt: skip


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive.sqlite") as made:
        yield made


def fill(archive, count=100):
    for each in rows(count):
        archive.write("a", each, DESCRIBED)
    archive.write_sensitivity("s", 0, 4, 0.25)


EVERYTHING = Row(
    (4, None),
    ((1.5, 2), (3.25, 4), (0, float("inf"))),
    25,
    0.5,
    0.75,
    (0.1, 1e-9, 3.0),
    {"top-5": 0.9},
    b"\x01\xff\x00",
    1.7e9,
)


@pytest.mark.parametrize(
    "each",
    [EVERYTHING, row(), row(counts=(9,)), Row((2,), (), 40, 0.1, -12.5), Row((2,), (-3, 2**40), 20, 0.0)],
    ids=["all there can be", "accuracy", "stopped", "a score without sums", "large whole numbers"],
)
def test_every_field_comes_back(archive, each):
    archive.write("a", each, FACTS | {"names": ["q"] * len(each.bit_widths), "images": 40})
    assert archive.read_all("a") == [each]
    archive.close()
    with Archive(archive.path) as again:
        assert again.read("a", [each.bit_widths]) == {each.bit_widths: each}
        assert again.check().whole


def test_a_copy_is_whole_and_leaves_the_archive_as_it_is(archive, tmp_path):
    fill(archive)
    archive.copy_to(tmp_path / "copy.sqlite")
    archive.write("a", row((9, 9)), FACTS)
    with Archive(tmp_path / "copy.sqlite") as copy:
        assert copy.read_all("a") == rows(100)
        assert copy.read_sensitivities("s") == {(0, 4): 0.25}
        copy.write("a", row((8, 8)), FACTS)
    assert archive.read_all("a") == [*rows(100), row((9, 9))]
    archive.copy_to(tmp_path / "copy.sqlite", overwrite=True)
    with Archive(tmp_path / "copy.sqlite") as copy:
        assert copy.read_all("a") == archive.read_all("a")


def test_an_archive_in_memory_is_copied_to_a_file(tmp_path):
    archive = Archive()
    fill(archive, 5)
    archive.copy_to(tmp_path / "copy.sqlite")
    with Archive(tmp_path / "copy.sqlite") as copy:
        assert copy.read_all("a") == rows(5)


def test_copies_that_are_refused(archive, tmp_path):
    fill(archive, 5)
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to(archive.path)
    for path, said in (("archive.sqlite", "onto itself"), ("link", "onto itself"), ("there", "something at .* already"),
                       ("no folder/copy", "there is no folder")):  # fmt: skip
        with pytest.raises(ArchiveError, match=said):
            archive.copy_to(tmp_path / path)
    with pytest.raises(ArchiveError, match="onto itself"):
        archive.copy_to(archive.path, overwrite=True)
    with pytest.raises(ArchiveError, match="already"):
        archive.copy_to(tmp_path, overwrite=True)
    assert (tmp_path / "there").read_text() == "mine"
    assert archive.read_all("a") == rows(5)


@pytest.mark.parametrize(
    "kind", ["this format", "earlier format", "earlier format with its log", "open", "in memory"]
)
def test_merging_takes_in_what_the_other_knows(archive, tmp_path, kind):
    for each in (row((2, 2)), row((3, 3), (9,)), row((4, 4), (9, 8, 4)), row((5, 5), (1, 1, 1))):
        archive.write("a", each, FACTS)
    theirs = [row((2, 2)), row((3, 3)), row((4, 4), (9,)), row((5, 5), (1, 2)), row((6, 6))]
    path, other = tmp_path / "theirs.sqlite", None
    if kind.startswith("earlier"):
        write_earlier(path, theirs, keep_log=kind.endswith("log"))
    else:
        other = Archive(None if kind == "in memory" else path)
        for each in theirs:
            other.write("a", each, FACTS)
        other.write("other machine", row((7, 7)), FACTS)
        other.write_sensitivity("s", 0, 4, 0.25)
    before = path.read_bytes() if kind != "in memory" else b""
    done = archive.merge(other if kind in ("open", "in memory") else path)
    assert (done.added - (other is not None), done.replaced, done.known, done.damaged) == (1, 1, 2, 0)
    assert done.contradictions.values.tolist() == [["a", (5, 5), 2, 3]]
    assert archive.read_all("a") == [
        row((2, 2)),
        row((3, 3)),
        row((4, 4)),
        row((5, 5), (1, 1, 1)),
        row((6, 6)),
    ]
    assert archive.read_all("other machine") == ([row((7, 7))] if other else [])
    assert archive.read_sensitivities("s") == {(0, 4): 0.25}
    if kind != "in memory":
        assert path.read_bytes() == before
    again = archive.merge(path if kind != "in memory" else other)
    assert (again.added, again.replaced, len(again.contradictions)) == (0, 0, 1)


def test_merging_keeps_when_it_was_measured(archive, tmp_path):
    with Archive(tmp_path / "theirs.sqlite") as other:
        other.write("a", Row((2, 2), (1, 2, 3), 25, 0.5, 6 / 25, time=1e9), FACTS)
    archive.merge(tmp_path / "theirs.sqlite")
    assert [r.time for r in archive.read_all("a")] == [1e9]


def text(path):
    path.write_text("layer,bits\n")


def newer(path):
    Archive(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def torn(path):
    """A row is in the index and in the table, and was not counted."""
    with Archive(path) as made:
        fill(made, 5)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE fingerprints SET row_count = 4 WHERE row_count = 5")
    connection.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (text, "not an archive"),
        (newer, "has format 99"),
        (torn, "copied while it was written"),
        (lambda p: None, "no archive at"),
    ],
    ids=["text", "newer", "torn", "missing"],
)
def test_merges_that_are_refused_change_nothing(archive, tmp_path, make, said):
    fill(archive, 5)
    make(tmp_path / "theirs")
    with pytest.raises(ArchiveError, match=said):
        archive.merge(tmp_path / "theirs")
    assert archive.read_all("a") == rows(5)
    for same in (archive, archive.path, Archive(archive.path)):
        with pytest.raises(ArchiveError, match="with itself"):
            archive.merge(same)


def test_what_is_in_it(archive):
    fill(archive)
    archive.write("a", row((9, 9), (1,)), FACTS)
    found = archive.check()
    assert found.whole and found.path == archive.path
    entry = found.contents.loc["a"]
    assert entry[["evaluations", "complete", "sensitivities", "damaged"]].tolist() == [101, 100, 0, 0]
    assert entry["model":"machine"].tolist() == [
        *("ResNet 0123456789ab", 2, "fedcba987654", 25, "accuracy", "cpu, AVX2, 2.14.1")
    ]
    assert entry["first"] <= entry["last"]
    assert found.contents.loc["s", "sensitivities"] == 1
    assert check_archive(archive.path).contents.equals(found.contents)


def mixed(before, after, pages):
    """``after``, with those ``pages`` as they were before."""
    size = 4096
    content = bytearray(after)
    for page in pages:
        content[page * size : (page + 1) * size] = before[page * size : (page + 1) * size]
    return bytes(content)


def test_copies_torn_between_two_commits_are_whole_or_refused(tmp_path):
    """Every page as it was before a commit, or after it: whatever a reader without locks may have caught."""
    path, torn, generator = tmp_path / "archive.sqlite", tmp_path / "torn.sqlite", random.Random(0)
    states, refused = [], 0
    with Archive(path) as archive:
        for each in rows(60):
            archive.write("a", each, FACTS)
            subprocess.run(["cp", path, tmp_path / "state"], check=True)
            states.append((tmp_path / "state").read_bytes())
    for _ in range(200):
        first = generator.randrange(len(states) - 1)
        before, after = states[first], states[generator.randrange(first + 1, len(states))]
        pages = [page for page in range(len(after) // 4096) if generator.random() < 0.5]
        torn.write_bytes(mixed(before, after, pages))
        try:
            with Archive(torn) as archive:
                found = archive.read_all("a")
        except ArchiveError as error:
            assert "copy_to" in str(error) or "--save" in str(error)
            refused += 1
        else:
            assert found == rows(len(found))
        torn.unlink()
    assert 20 < refused < 200


def test_what_is_whole_is_saved(tmp_path, capsys):
    path, saved = tmp_path / "archive.sqlite", tmp_path / "saved.sqlite"
    with Archive(path) as archive:
        for each in rows(225):
            archive.write("a", each, FACTS)
        archive.write_sensitivity("s", 0, 4, 0.25)
    content = bytearray(path.read_bytes())
    # A page of rows in the middle, and the end.
    pages = [start for start in range(0, len(content), 4096) if content[start] == 13 and start > 4096 * 6]
    content[pages[1] : pages[1] + 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="archive check FILE --save NEW"):
        Archive(path)
    assert main(["archive", "check", str(path), "--save", str(saved)]) == 1
    assert "DAMAGED" in capsys.readouterr().out
    with Archive(saved) as archive:
        found = archive.read_all("a")
        assert 150 < len(found) < 225 and set(found) < set(rows(225))
        assert archive.check().whole
    assert path.read_bytes() == bytes(content)
    with pytest.raises(ArchiveError, match="already"):
        save_what_is_whole(path, saved)


def test_a_damaged_row_is_not_used_and_put_right(archive):
    fill(archive, 10)
    archive.close()
    with sqlite3.connect(archive.path) as connection:
        connection.execute("UPDATE evaluations SET score = 0.99 WHERE rowid = 3")
    connection.close()
    assert not check_archive(archive.path).whole
    with Archive(archive.path) as again:
        with pytest.warns(QAWarning, match="1 of 10 rows are damaged"):
            assert again.read_all("a") == [*rows(2), *rows(10)[3:]]
        again.write("a", rows(10)[2], FACTS)
        assert again.read_all("a") == rows(10)
        assert again.check().whole


def test_measured_again_takes_its_place(archive):
    archive.write("a", row((2, 2), (9, 9, 5)), FACTS)
    archive.write("a", row((2, 2), (8, 8, 4)), FACTS)
    assert archive.read_all("a") == [row((2, 2), (9, 9, 5))]
    archive.write("a", row((2, 2), (8, 8, 4)), FACTS, again=True)
    assert archive.read_all("a") == [row((2, 2), (8, 8, 4))]
    archive.write("a", row((2, 2), (8,)), FACTS, again=True)
    assert archive.read_all("a") == [row((2, 2), (8, 8, 4))]
    assert archive.check().whole


def test_a_trigger_that_came_along_is_not_obeyed(archive):
    fill(archive, 5)
    archive.close()
    with sqlite3.connect(archive.path) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON evaluations BEGIN DELETE FROM evaluations; END")
    connection.close()
    with pytest.raises(ArchiveError, match="its tables are not those of an archive"):
        Archive(archive.path)


def test_by_command(archive, tmp_path, capsys):
    fill(archive, 5)
    theirs = tmp_path / "theirs.sqlite"
    with Archive(theirs) as other:
        other.write("a", row((2, 2), (1, 1, 1)), FACTS)
        other.write("a", row((9, 9)), FACTS)
    assert main(["archive", "copy", str(archive.path), str(tmp_path / "copy.sqlite")]) == 0
    assert main(["archive", "copy", str(archive.path), str(tmp_path / "copy.sqlite")]) == 2
    assert "already" in capsys.readouterr().err
    assert main(["archive", "merge", str(tmp_path / "copy.sqlite"), str(theirs)]) == 1
    said = capsys.readouterr().out
    assert (
        "1 evaluations added" in said and "1 settings were measured differently" in said and "(2, 2)" in said
    )
    assert main(["archive", "check", str(tmp_path / "copy.sqlite")]) == 0
    said = capsys.readouterr().out
    assert "copy.sqlite: whole\n6 evaluations and 1 sensitivities" in said and "ResNet 0123456789ab" in said
    for wrong in (["check", "nowhere"], ["copy", "nowhere", "x"], ["merge", str(archive.path), "nowhere"]):
        assert main(["archive", *wrong]) == 2
        assert "there is no archive at " in capsys.readouterr().err


def test_one_row_of_many_that_is_missing_is_noticed():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    tables.make_tables(connection)
    connection.execute("BEGIN")
    generator = np.random.default_rng(0)
    for widths in generator.integers(2, 9, (5_000, 17)).tolist():
        tables.put_evaluation(connection, "a", FACTS, Row(tuple(widths), (1,) * 32, 25, 1.0, 0.5))
    connection.execute("COMMIT")
    assert faults_of(connection) == []
    connection.execute("DELETE FROM evaluations WHERE rowid = 77")
    assert "1 of 1 fingerprints" in faults_of(connection)[0]
    connection.close()
