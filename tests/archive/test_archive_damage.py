"""Damage is never called whole, never told as something else, and what is whole is saved of it."""

import sqlite3
from contextlib import closing

import pytest
from archive_rows import FACTS, row, rows, write_earlier

from qa_lib import Archive
from qa_lib.__main__ import main
from qa_lib.archive import Row, check_archive, save_what_is_whole
from qa_lib.errors import ArchiveError, QAWarning


@pytest.fixture
def content(tmp_path):
    """An archive's bytes."""
    with Archive(tmp_path / "sound.sqlite") as archive:
        for each in rows(400):
            archive.write("aaaa", each, FACTS)
        archive.write("bbbb", row((99, 99)), FACTS)
        archive.write_sensitivity("s", 0, 4, 0.25)
    return (tmp_path / "sound.sqlite").read_bytes()


def replaced(content, old, new, count=1):
    assert content.count(old) >= 1 and len(old) == len(new)
    return content.replace(old, new, count)


DAMAGED = {
    "the format says 2": lambda c: c[:63] + b"\2" + c[64:],
    "the format says 1": lambda c: c[:63] + b"\1" + c[64:],
    "a column's name": lambda c: replaced(c, b"score REAL", b"scorf REAL"),
    "a table's name is no text": lambda c: replaced(c, b"TABLE evaluations", b"TABLE \xe5valuations"),
    "facts": lambda c: replaced(c, b'"images": 25', b'"images": 95'),
    "facts that JSON cannot read": lambda c: replaced(c, b'{"names"', b'<"names"'),
    "a fact's name": lambda c: replaced(c, b'"images": 25', b'"imaget": 25'),
    "cut off": lambda c: c[: int(0.9 * len(c))],
    "half of it": lambda c: c[: len(c) // 2],
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_damage_is_never_called_whole_nor_told_as_something_else(tmp_path, content, damage, capsys):
    path, saved = tmp_path / "damaged.sqlite", tmp_path / "saved.sqlite"
    path.write_bytes(damage(content))
    with pytest.raises(ArchiveError):
        Archive(path)
    assert not check_archive(path).whole
    assert main(["archive", "check", str(path), "--save", str(saved)]) == 1
    assert "DAMAGED" in capsys.readouterr().out
    assert path.read_bytes() == damage(content)
    with Archive(saved) as archive:
        assert archive.check().whole
        for name, known in (("aaaa", rows(400)), ("bbbb", [row((99, 99))])):
            assert all(each in known for each in archive.read_all(name))
        frame = archive.to_frame()
        assert not (frame["complete"] & (frame["images"] != 25)).any()


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "least"), [("facts", 400), ("cut off", 300), ("half of it", 25)])
def test_what_is_whole_is_saved_of_it(tmp_path, content, damage, least):
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(DAMAGED[damage](content))
    assert save_what_is_whole(path, tmp_path / "saved.sqlite") >= least


def test_a_row_under_another_fingerprint_is_not_taken_for_its(tmp_path, content):
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE evaluations SET fingerprint = 1 WHERE fingerprint = 2")
        connection.commit()
    assert not check_archive(path).whole
    assert save_what_is_whole(path, tmp_path / "saved.sqlite") == 400
    with Archive(tmp_path / "saved.sqlite") as archive:
        assert archive.read_all("aaaa") == rows(400)


def test_numbers_of_rows_far_beyond_the_file_do_not_make_it_search_for_ever(tmp_path, content):
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE evaluations SET rowid = ? WHERE rowid = 3", (2**60,))
        connection.execute("UPDATE fingerprints SET facts = x'fe' WHERE id = 1")
        connection.commit()
    assert not check_archive(path).whole
    assert save_what_is_whole(path, tmp_path / "saved.sqlite") >= 1


def test_damaged_rows_are_said_of_a_frame_too(tmp_path):
    with Archive(tmp_path / "archive.sqlite") as archive:
        archive.write("a", row(), FACTS)
        with closing(sqlite3.connect(archive.path)) as connection:
            connection.execute("UPDATE evaluations SET seconds = 77")
            connection.commit()
        with pytest.warns(match="1 of 1 rows are damaged"):
            assert archive.to_frame().empty


def test_sensitivities_that_contradict_each_other_are_listed(tmp_path):
    with Archive() as ours, Archive() as theirs:
        for archive, divergence in ((ours, 0.5), (theirs, 0.7)):
            archive.write_sensitivity("s", 1, 4, divergence, {"names": ["input", "conv", "linear"]})
            archive.write_sensitivity("s", 0, 4, 0.1)
        found = ours.merge(theirs).contradictions
        assert found.values.tolist() == [["s", (None, 4, None), 0.5, 0.7]]
        assert ours.read_sensitivities("s") == {(1, 4): 0.5, (0, 4): 0.1}


def test_nan_does_not_contradict_itself():
    with Archive() as ours, Archive() as theirs:
        for archive in (ours, theirs):
            archive.write("a", row(counts=(float("nan"), 1.0, 2.0)), FACTS)
        assert not len(ours.merge(theirs).contradictions)


def test_commands_leave_no_file_after_a_mistake_and_no_source_changed(tmp_path, capsys):
    (tmp_path / "bad.sqlite").write_bytes(b"no archive" * 100)
    (tmp_path / "empty.sqlite").touch()
    write_earlier(tmp_path / "earlier.sqlite", [row()])
    before = (tmp_path / "earlier.sqlite").read_bytes()
    for arguments in (["merge", "new.sqlite", "bad.sqlite"], ["copy", "empty.sqlite", "new.sqlite"]):
        assert main(["archive", arguments[0], *(str(tmp_path / name) for name in arguments[1:])]) == 2
    assert main(["archive", "copy", str(tmp_path / "earlier.sqlite"), str(tmp_path / "copy.sqlite")]) == 0
    assert (tmp_path / "earlier.sqlite").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bad.sqlite",
        "copy.sqlite",
        "earlier.sqlite",
        "empty.sqlite",
    ]
    with Archive(tmp_path / "copy.sqlite") as copy:
        assert copy.read_all("a") == [row()] and copy.read_sensitivities("s") == {(0, 4): 0.25}


IMPOSSIBLE = {
    "more right answers than images": (((200, 40), (40, 40), (16, 16)), 96),
    "fewer than none": (((-5, 40), (30, 40), (10, 16)), 96),
    "batches of other sizes": (((30, 40), (30, 40), (10, 10)), 96),
    "more images than batches": (((30, 40), (30, 40)), 96),
    "more batches than there are": (((30, 40), (30, 40), (10, 16), (3, 4)), 100),
    "another metric's sums": (((30,), (30,), (3,)), 96),
    "no numbers": (((float("nan"), 40), (30, 40), (3, 16)), 96),
}


@pytest.mark.parametrize(("sums", "shown"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_row_that_no_measurement_can_have_made_is_measured_again(evaluator, sums, shown):
    """However sound its checksum."""
    widths, archive = (4, 4, 3, 4), evaluator.archive
    truth = evaluator.evaluate(widths)
    row = Row(widths, sums, min(shown, 96), 0.1, 0.9)
    archive.write(
        evaluator.fingerprint(),
        row,
        evaluator.facts() | {"names": evaluator.qmodel.names, "images": 96},
        again=True,
    )
    with pytest.warns(QAWarning, match="no measurement on this search set can have found"):
        assert evaluator.recall(widths) is None
    with pytest.warns(QAWarning, match="measured anew"):
        assert evaluator.evaluate(widths) == truth
    assert evaluator.recall(widths) == truth  # and put right


def test_measuring_again_puts_a_wrong_row_right(evaluator):
    widths = (4, 4, 3, 4)
    truth = evaluator.evaluate(widths)
    wrong = Row(widths, ((1, 40), (1, 40), (1, 16)), 96, 0.1, 3 / 96)
    facts = evaluator.facts() | {"names": evaluator.qmodel.names, "images": 96}
    evaluator.archive.write(evaluator.fingerprint(), wrong, facts, again=True)
    assert evaluator.evaluate(widths).score == 3 / 96  # nothing tells
    assert evaluator.evaluate(widths, remeasure=True) == evaluator.evaluate(widths) == truth
