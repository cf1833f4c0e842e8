"""What an archive is given is kept as it is, or refused in a sentence; nothing that was written before is harmed."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from archive_rows import FACTS, row

from qa_lib import Archive
from qa_lib.archive import check_archive
from qa_lib.errors import ArchiveError


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive.sqlite") as archive:
        archive.write("before", row(), FACTS)
        yield archive


def still_whole(archive):
    archive.close()
    with Archive(archive.path) as again:
        assert again.read_all("before") == [row()]
        assert again.check().whole and len(again.to_frame()) >= 1
    return True


@pytest.mark.parametrize(
    "change",
    [
        {"time": 1_700_000_000},
        {"time": np.float64(1.7e9)},
        {"items": np.packbits([1, 0, 1])},
        {"items": bytearray(b"\1\2")},
        {"items": memoryview(b"\1\2")},
        {"score": -0.0},
        {"score": np.float32(0.5)},
        {"score": torch.tensor(0.5)},
        {"seconds": np.float64(0.25)},
        {"images": np.int64(25)},
        {"bit_widths": (np.int64(4), None)},
        {"sums": (np.int64(9), np.int64(8), 4)},
        {"sums": (float("nan"), float("-inf"), 0.1)},
        {"sums": (2**53 + 1, 2**63 - 1, -(2**63))},
        {"further_scores": {"top-5": np.float32(0.5), "top-3": float("nan")}},
    ],
    ids=lambda change: re.sub(r" at 0x\w+", "", repr(change)),
)
def test_values_of_any_kind_come_back(archive, change):
    given = replace(row(), **change)
    archive.write("a", given, FACTS)
    archive.close()
    with Archive(archive.path) as again:
        (found,) = again.read_all("a")
        for name, value in change.items():
            back = getattr(found, name)
            expected = (
                float(value) + 0.0 if name == "score" else memoryview(value) if name == "items" else value
            )
            np.testing.assert_equal(back, expected)
    assert still_whole(archive)


@pytest.mark.parametrize(
    "change",
    [
        {"sums": (2**64 + 1,)},
        {"sums": (2**63 + 1, -1)},
        {"sums": (2**53 + 1, 0.5)},
        {"sums": (1 + 2j,)},
        {"sums": (None, 1)},
        {"sums": ("1", "2")},
        {"sums": (((1, 2), (3, 4)),)},
        {"sums": ((), ())},
        {"sums": ((1, 2), (3,))},
        {"sums": None},
        {"images": 3.7},
        {"images": -1},
        {"images": 26},
        {"images": 2**70},
        {"bit_widths": (0, 4)},
        {"bit_widths": (256, 4)},
        {"bit_widths": (-1, 4)},
        {"bit_widths": (4.5, 4)},
        {"bit_widths": (4, 4, 4)},
        {"bit_widths": None},
        {"seconds": float("nan")},
        {"seconds": -1.0},
        {"time": float("nan")},
        {"time": 1e30},
        {"time": "now"},
        {"items": [1, 0]},
        {"items": 3},
        {"items": "101"},
        {"further_scores": {1: 0.5}},
        {"further_scores": {"top-5": None}},
    ],
    ids=repr,
)
def test_what_would_not_come_back_is_refused(archive, change):
    with pytest.raises(ArchiveError, match=r"cannot keep|can keep|does not belong|bit widths are"):
        archive.write("a", replace(row(), **change), FACTS)
    assert still_whole(archive)


@pytest.mark.parametrize("fingerprint", [None, 3, 1.5, True, ["a"], b"a", "\ud800"], ids=repr)
def test_a_fingerprint_is_text(archive, fingerprint):
    with pytest.raises(ArchiveError, match="a fingerprint is text"):
        archive.write(fingerprint, row(), FACTS)
    with pytest.raises(ArchiveError, match="a fingerprint is text"):
        archive.write_sensitivity(fingerprint, 0, 4, 0.5)
    assert still_whole(archive)


@pytest.mark.parametrize(
    "facts",
    [None, [], {}, {"names": ["a", "b"]}, FACTS | {"images": 0}, FACTS | {"names": 2}, FACTS | {"of": {1j}}],
    ids=repr,
)
def test_facts_say_what_a_row_needs(archive, facts):
    with pytest.raises(ArchiveError, match="facts"):
        archive.write("a", row(), facts)
    assert still_whole(archive)


@pytest.mark.parametrize(
    "wrong", [(0, 4, float("nan")), (0.5, 4, 1.0), (0, None, 1.0), (0, 4, "much")], ids=repr
)
def test_a_sensitivity_is_a_finite_number(archive, wrong):
    with pytest.raises(ArchiveError, match="sensitivity|numbers"):
        archive.write_sensitivity("a", *wrong)
    assert still_whole(archive)


def test_asking_for_what_is_none(archive):
    with pytest.raises(ArchiveError, match="bit widths are"):
        archive.read("before", (4, None))
    with pytest.raises(ArchiveError, match="cannot be kept or looked for"):
        archive.read_all(["before"])
    # Whatever hands out the settings may use the archive.
    asked = (archive.read_all("before")[0].bit_widths for _ in range(2))
    assert archive.read("before", asked) == {row().bit_widths: row()}


def test_sensitivities_may_come_before_anything_is_said(archive):
    archive.write_sensitivity("a", 0, 4, -0.0)
    assert archive.check().contents.loc["a", "sensitivities"] == 1
    archive.write("a", row(), FACTS)
    assert archive.to_frame("a")["complete"].tolist() == [True]
    assert archive.read_sensitivities("a") == {(0, 4): 0.0}
    assert still_whole(archive)


def test_rows_of_other_quantizers_do_not_come_under_a_fingerprint(archive):
    other = FACTS | {"names": ["input", "conv", "linear"]}
    with pytest.raises(ArchiveError, match=r"is of the quantizers \['input', 'conv'\]"):
        archive.write("before", row((4, 4, 4)), other)
    with pytest.raises(ArchiveError, match="is of the quantizers"):
        archive.write_sensitivity("before", 2, 4, 0.5, other)
    assert still_whole(archive)


def test_what_was_said_is_kept_as_it_was(archive):
    facts = dict(FACTS)
    archive.write("a", row(), facts)
    facts["names"] = facts["images"] = None
    archive.path.unlink()
    with pytest.warns(match="was removed"):
        assert len(archive.to_frame("a")) == 1


@pytest.mark.parametrize(
    "path",
    [
        b"archive.sqlite",
        3,
        "a" * 300,
        "loop",
        "loop/archive.sqlite",
        "nul\0",
        ":memory:",
        "missing/archive.sqlite",
        ".",
    ],
    ids=repr,
)
def test_a_path_that_cannot_be(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with Archive() as archive:
        for use in (Archive, archive.copy_to, archive.merge, check_archive):
            with pytest.raises(ArchiveError):
                use(path)
    assert os.listdir() == ["loop"]


def test_a_working_directory_that_is_no_longer_there(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ArchiveError, match="working directory"):
        Archive("archive.sqlite")


def test_a_closed_one_is_closed_while_another_of_the_file_is_open(archive):
    again = Archive(archive.path)
    again.close()
    for use in (
        lambda: again.read_all("a"),
        again.to_frame,
        again.check,
        lambda: again.write("a", row(), FACTS),
    ):
        with pytest.raises(ArchiveError, match="was closed"):
            use()
    assert len(archive.read_all("before")) == 1


def test_an_empty_frame_has_the_types_of_a_full_one(archive):
    kinds = archive.to_frame().dtypes
    empty = Archive().to_frame().dtypes
    assert dict(empty) == {name: kinds[name] for name in empty.index}
