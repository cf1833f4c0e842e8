"""The file is taken away, replaced, overwritten or held by somebody while it is in use: nothing is lost, and it is said."""

import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from archive_rows import FACTS, row, rows, write_earlier

from qa_lib import Archive
from qa_lib.archive import check_archive, locks, opening
from qa_lib.errors import ArchiveError, QAWarning

# Since Python 3.12, of any fork beside a thread.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning"),
]


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "archive.sqlite")


def written(archive, count=20):
    for each in rows(count):
        archive.write("a", each, FACTS)
    archive.write_sensitivity("s", 0, 4, 0.25)
    return rows(count)


def holds(path, expected):
    with Archive(path) as again:
        return [r.bit_widths for r in again.read_all("a")] == [r.bit_widths for r in expected]


def test_removed_while_open(archive):
    before = written(archive)
    archive.path.unlink()
    with pytest.warns(QAWarning, match="removed or moved.*the 20 evaluations"):
        archive.write("a", row((9, 9)), FACTS)
    assert holds(archive.path, [*before, row((9, 9))])
    archive.close()
    with Archive(archive.path) as again:
        assert again.read_sensitivities("s") == {(0, 4): 0.25}


def test_moved_while_open(archive, tmp_path):
    before = written(archive)
    archive.path.rename(tmp_path / "elsewhere.sqlite")
    with pytest.warns(QAWarning, match="removed or moved"):
        assert archive.read_all("a") == before
    assert holds(archive.path, before) and holds(tmp_path / "elsewhere.sqlite", before)


@pytest.mark.parametrize("in_place", [False, True], ids=["as another file", "in place"])
@pytest.mark.parametrize("version", [2, 3], ids=["earlier format", "this format"])
def test_replaced_by_another_archive(archive, tmp_path, in_place, version):
    before, theirs = written(archive), tmp_path / "theirs.sqlite"
    if version == 2:
        write_earlier(theirs, [row((7, 7))])
    else:
        with Archive(theirs) as other:
            other.write("a", row((7, 7)), FACTS)
    command = ["cp"] if in_place else ["cp", "--remove-destination"]
    subprocess.run([*command, theirs, archive.path], check=True)
    with pytest.warns(QAWarning, match="was replaced while it was open: the 20 evaluations"):
        found = archive.read_all("a")
    assert {r.bit_widths for r in found} == {r.bit_widths for r in [*before, row((7, 7))]}
    archive.close()
    assert holds(archive.path, [row((7, 7)), *before])


@pytest.mark.parametrize("in_place", [False, True], ids=["as another file", "in place"])
@pytest.mark.parametrize(
    "content", [b"layer,bits\n", b"SQLite format 3\0" + bytes(range(256)) * 50], ids=["text", "damaged"]
)
def test_replaced_by_what_is_no_archive(archive, tmp_path, in_place, content):
    before, path = written(archive), archive.path
    if not in_place:
        path.unlink()
    subprocess.run(["tee", path], input=content, stdout=subprocess.DEVNULL, check=True)
    with pytest.warns(QAWarning, match="goes on in .*archive-2.sqlite, and the 20 evaluations"):
        archive.write("a", row((9, 9)), FACTS)
    assert archive.path == tmp_path / "archive-2.sqlite"
    assert path.read_bytes() == content
    archive.write("a", row((9, 8)), FACTS)  # without a further word
    assert holds(archive.path, [*before, row((9, 9)), row((9, 8))])


def test_an_older_copy_is_put_back_in_place(archive, tmp_path):
    before = written(archive, 10)
    subprocess.run(["cp", archive.path, tmp_path / "backup"], check=True)
    for each in rows(20)[10:]:
        archive.write("a", each, FACTS)
    subprocess.run(["cp", tmp_path / "backup", archive.path], check=True)
    with pytest.warns(QAWarning, match="was replaced"):
        assert archive.read_all("a") == rows(20)
    assert before == rows(20)[:10]


def test_the_folder_is_gone_and_comes_back(archive, tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    lost = Archive(folder / "archive.sqlite")
    before = written(lost)
    shutil.rmtree(folder)
    with pytest.raises(ArchiveError, match="there is no folder"):
        lost.read_all("a")
    folder.mkdir()
    with pytest.warns(QAWarning, match="the 20 evaluations that this process has written are in"):
        assert lost.read_all("a") == before


def left_by_a_killed_writer(path, tmp_path, count=300):
    """A journal in the middle of a commit, and the file as it was then."""
    with Archive(path) as archive:
        for each in rows(count):
            archive.write("a", each, FACTS)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA cache_size = 1")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute(
        "UPDATE evaluations SET seconds = 77"
    )  # more pages than the cache holds: they go to the file
    for ending in ("", "-journal"):
        subprocess.run(["cp", f"{path}{ending}", f"{tmp_path / 'killed'}{ending}"], check=True)
    connection.execute("ROLLBACK")
    connection.close()
    assert (tmp_path / "killed-journal").stat().st_size > 1000
    return tmp_path / "killed"


def test_the_journal_of_a_killed_writer_is_rolled_back(tmp_path):
    killed = left_by_a_killed_writer(tmp_path / "archive.sqlite", tmp_path)
    with Archive(killed) as archive:
        assert archive.read_all("a") == rows(300)


def test_the_journal_of_another_file_is_never_replayed(tmp_path):
    """A writer was killed; then a colleague's archive takes the place of its file, and the journal still lies there."""
    killed = left_by_a_killed_writer(tmp_path / "archive.sqlite", tmp_path)
    theirs = tmp_path / "theirs.sqlite"
    with Archive(theirs) as other:
        other.write("a", row((7, 7)), FACTS)
    theirs.replace(killed)
    with pytest.warns(QAWarning, match="journal of another file"), Archive(killed) as archive:
        assert archive.read_all("a") == [row((7, 7))]
    assert [p for p in tmp_path.iterdir() if "killed-journal.of-another-file" in p.name]


@pytest.mark.parametrize("version", [2, 3])
def test_the_log_of_another_file_is_never_replayed(tmp_path, version):
    path, theirs = tmp_path / "archive.sqlite", tmp_path / "theirs.sqlite"
    write_earlier(path, rows(50), keep_log=True)
    if version == 2:
        write_earlier(theirs, [row((7, 7))])
    else:
        with Archive(theirs) as other:
            other.write("a", row((7, 7)), FACTS)
    theirs.replace(path)
    with pytest.warns(QAWarning, match="wal of another file"), Archive(path) as archive:
        assert archive.read_all("a") == [row((7, 7))]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("log", ["none", "closed", "beside it"])
def test_archives_of_earlier_versions_are_read(tmp_path, version, log):
    path = tmp_path / "archive.sqlite"
    write_earlier(path, rows(50), version=version, log=log == "closed", keep_log=log == "beside it")
    mode = path.stat().st_mode
    with Archive(path) as archive:
        assert archive.read_all("a") == rows(50)
        assert archive.read_sensitivities("s") == ({(0, 4): 0.25} if version == 2 else {})
        assert archive.check().contents["first"].isna().all()  # nobody wrote down when
        archive.write("a", row((9, 9)), FACTS)
    assert holds(path, [*rows(50), row((9, 9))])
    assert [p.name for p in tmp_path.iterdir()] == ["archive.sqlite"]
    assert path.stat().st_mode == mode


def test_an_earlier_version_that_still_uses_the_file_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "BUSY_SECONDS", 0.5)
    path = tmp_path / "archive.sqlite"
    write_earlier(path, rows(5), log=True)
    living = sqlite3.connect(path)
    living.execute("SELECT * FROM evaluations").fetchall()
    with pytest.raises(ArchiveError, match=f"process {os.getpid()} on .* has held it"):
        Archive(path)
    living.execute("INSERT INTO sensitivities VALUES ('s', 1, 4, 0.5)")
    living.commit()
    living.close()
    with Archive(path) as archive:
        assert archive.read_all("a") == rows(5)
        assert archive.read_sensitivities("s") == {(0, 4): 0.25, (1, 4): 0.5}


HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_busy_archive_is_waited_for(archive):
    with hold(archive.path, 2):
        start = time.monotonic()
        archive.write("a", row(), FACTS)
        assert time.monotonic() - start > 1
        assert archive.read_all("a") == [row()]


@pytest.mark.parametrize(
    "look",
    [
        lambda path: Archive(path).read_all("a"),
        lambda path: check_archive(path).whole and [row()],
        lambda path: Archive().merge(path).added and [row()],
    ],
    ids=["opened", "checked", "merged"],
)
def test_a_busy_archive_is_waited_for_by_whoever_opens_it(archive, look):
    """For longer than SQLite itself waits, wherever it is that the file is read first."""
    archive.write("a", row(), FACTS)
    archive.close()
    with hold(archive.path, 3):
        assert look(archive.path) == [row()]


def test_whom_it_waited_for_is_said(archive, monkeypatch):
    monkeypatch.setattr(locks, "BUSY_SECONDS", 1)
    with hold(archive.path, 60) as process:
        with pytest.raises(ArchiveError, match=rf"process {process.pid} on .* has held it for 1 seconds"):
            archive.write("a", row(), FACTS)
        process.kill()
    archive.write("a", row(), FACTS)
    assert archive.read_all("a") == [row()]


def write_in_turns(path, first, kind, count):
    locks.folder_kind = lambda folder: kind
    with Archive(path) as archive:
        for index in range(first, 2 * count, 2):
            archive.write("a", row((2 + index % 15, 2 + index // 15)), FACTS)


def two_processes(path, kind, count=100):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_in_turns, args=(path, first, kind, count)) for first in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]


def test_a_network_folder_gets_a_lock_file(tmp_path, monkeypatch):
    """SQLite's own locks are off there (nolock): only the lock file keeps the two apart."""
    path = tmp_path / "archive.sqlite"
    two_processes(path, "nfs4")
    assert {r.bit_widths for r in Archive(path).read_all("a")} == {r.bit_widths for r in rows(200)}
    monkeypatch.setattr(locks, "folder_kind", lambda folder: "cifs")
    with pytest.warns(QAWarning, match=r"network folder \(cifs\).*other.sqlite.lock lies beside it"):
        archive = Archive(tmp_path / "other.sqlite")
    written(archive)
    assert archive.read_all("a") == rows(20)
    assert not locks.lock_path(archive.path).exists()
    archive.path.unlink()
    with pytest.warns(QAWarning, match="replaced|removed"):
        archive.write("a", row((9, 9)), FACTS)
    assert archive.read_all("a") == [*rows(20), row((9, 9))]


def test_a_lock_file_of_somebody_else_is_waited_for_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "folder_kind", lambda folder: "nfs")
    with pytest.warns(QAWarning, match="network folder"):
        archive = Archive(tmp_path / "archive.sqlite")
    monkeypatch.setattr(locks, "BUSY_SECONDS", 0.5)
    lock = locks.lock_path(archive.path)
    lock.write_text("4711\nnode17\n")
    with pytest.raises(
        ArchiveError, match=r"process 4711 on node17 has held it .* delete .*archive.sqlite.lock"
    ):
        archive.write("a", row(), FACTS)
    lock.unlink()
    archive.write("a", row(), FACTS)
    assert archive.read_all("a") == [row()]


def test_the_lock_file_of_a_killed_process_is_taken_over(tmp_path):
    path = tmp_path / "archive.sqlite"
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom qa_lib.archive import locks\n"
        "with locks.LockFile(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code, path]).returncode == -9
    assert locks.lock_path(path).exists()
    two_processes(path, "nfs", count=5)
    assert len(Archive(path).read_all("a")) == 10


def test_the_kind_of_a_folder(tmp_path):
    assert locks.folder_kind(tmp_path) == locks.folder_kind(tmp_path / "not there yet")
    assert locks.folder_kind(tmp_path) and locks.folder_kind("/proc") == "proc"
    assert locks.locks_work(tmp_path)


WITHOUT_LOCKS = """
import random, sqlite3, sys, time
from qa_lib import Archive
from qa_lib.archive import locks
sys.path.insert(0, sys.argv[3])
from archive_rows import FACTS, rows
connect = sqlite3.connect
sqlite3.connect = lambda name, uri=False, **options: connect(name + "&nolock=1" * uri, uri=uri, **options)
archive = Archive(sys.argv[1])
for each in rows(200)[int(sys.argv[2])::2]:
    archive.write("a", each, FACTS)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_without_any_locks_damage_never_looks_whole(tmp_path, request):
    """A file system that says its locks work, and they do not."""
    path, folder = tmp_path / "archive.sqlite", request.path.parent
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WITHOUT_LOCKS, path, str(n), folder], stdout=-1, stderr=-1
        )
        for n in (0, 1)
    ]
    ends = [process.communicate()[0] for process in both]
    try:
        found = Archive(path).read_all("a")
    except ArchiveError as error:
        assert "damaged" in str(error)
    else:
        # What one process has written last and finished with is there, whatever the other did to it.
        assert {r.bit_widths for r in found} <= {r.bit_widths for r in rows(200)}
        assert all(r == row(r.bit_widths) for r in found)
    print(ends)


def test_a_copy_in_the_middle_of_a_commit_is_whole_up_to_some_row_or_refused(tmp_path):
    """By ``cp``, at random moments of a search that writes as fast as it can."""
    path, copies = tmp_path / "archive.sqlite", tmp_path / "copies"
    copies.mkdir()
    process = multiprocessing.get_context("spawn").Process(target=write_without_end, args=(path,))
    process.start()
    while not path.exists():
        time.sleep(0.01)
    whole, refused = 0, 0
    generator = random.Random(0)
    try:
        for index in range(60):
            time.sleep(generator.uniform(0, 0.01))
            subprocess.run(["cp", path, copies / f"{index}"], check=True)
    finally:
        process.kill()
        process.join()
    for copy in sorted(copies.iterdir()):
        try:
            with Archive(copy) as archive:
                found = [r.bit_widths for r in archive.read_all("a")]
        except ArchiveError as error:
            assert "copy_to" in str(error) or "--save" in str(error)
            refused += 1
        else:
            assert found == [(2 + index % 250, 2 + index // 250) for index in range(len(found))]
            whole += 1
    assert whole > 20
    print(f"{whole} whole, {refused} refused")


def write_without_end(path):
    archive = Archive(path)
    for widths in ((2 + index % 250, 2 + index // 250) for index in range(60_000)):
        archive.write("a", row(widths), FACTS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forking_while_a_thread_writes(archive):
    """The child never begins in the middle of the parent's transaction."""
    stop = threading.Event()

    def write():
        for each in rows(225):
            archive.write("a", each, FACTS)
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    children = []
    while not stop.is_set() and len(children) < 8:
        child = os.fork()
        if not child:
            try:
                archive.write("b", row((2 + len(children), 2)), FACTS)
            finally:
                os._exit(0)
        children.append(child)
        time.sleep(0.02)
    thread.join()
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert archive.read_all("a") == rows(225)
    assert len(archive.read_all("b")) == len(children) > 1


def test_it_travels_to_another_process_by_its_path(archive):
    archive.write("a", row(), FACTS)
    assert pickle.loads(pickle.dumps(archive)).read_all("a") == [row()]
    with pytest.raises(ArchiveError, match="in memory"):
        pickle.dumps(Archive())


def test_several_paths_of_one_file_share_it(archive, tmp_path):
    (tmp_path / "link.sqlite").symlink_to(archive.path)
    with Archive(tmp_path / "link.sqlite") as linked:
        linked.write("a", row(), FACTS)
        assert archive.read_all("a") == [row()]
    archive.write("a", row((5, 5)), FACTS)  # closing one leaves the other open
    assert len(archive.read_all("a")) == 2


def test_what_this_process_left_is_not_looked_through_again(archive, monkeypatch):
    archive.write("a", row(), FACTS)
    archive.close()
    looked = []
    monkeypatch.setattr(opening, "faults_of", lambda connection: looked.append(1) or [])
    Archive(archive.path).close()
    assert not looked
    subprocess.run(["touch", archive.path], check=True)
    Archive(archive.path).close()
    assert looked


@pytest.mark.parametrize("empty", [False, True], ids=["no file", "an empty file"])
def test_two_who_make_it_at_once_have_one(tmp_path, monkeypatch, empty):
    """Between the look and the making, somebody else has made it and written a row."""
    path, look = tmp_path / "archive.sqlite", opening.format_at

    def look_too_early(asked):
        monkeypatch.setattr(opening, "format_at", look)
        found = look(asked)
        if empty:
            path.touch()
        with Archive(asked) as quicker:
            quicker.write("a", row(), FACTS)
        return found

    monkeypatch.setattr(opening, "format_at", look_too_early)
    with Archive(path) as archive:
        assert archive.read_all("a") == [row()]
    assert [p.name for p in tmp_path.iterdir()] == ["archive.sqlite"]


def test_a_relative_path_stays_the_same_file_in_another_folder(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with Archive("archive.sqlite") as archive:
        archive.write("a", row(), FACTS)
        monkeypatch.chdir(tmp_path / "elsewhere")
        archive.write("a", row((5, 5)), FACTS)
        assert len(pickle.loads(pickle.dumps(archive)).read_all("a")) == 2
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["archive.sqlite"]


def put_back(backup, path, in_place):
    """The file as it was, by ``cp``; in a process of its own, as a user does."""
    subprocess.run(["cp", *([] if in_place else ["--remove-destination"]), backup, path], check=True)


@pytest.mark.parametrize("in_place", [False, True], ids=["as another file", "in place"])
def test_an_earlier_state_is_noticed_whatever_was_written_since(archive, tmp_path, in_place):
    def finish(archive):
        archive.write("a", row((2, 2)), FACTS)

    def measure_again(archive):
        archive.write("a", row((3, 3), (1, 1, 1)), FACTS, again=True)

    def write_a_sensitivity(archive):
        archive.write_sensitivity("s", 0, 4, 0.25)

    def merge(archive):
        with Archive() as other:
            other.write("b", row((4, 4)), FACTS)
            archive.merge(other)

    archive.write("a", row((2, 2), (9,)), FACTS)
    archive.write("a", row((3, 3)), FACTS)
    for change in (finish, measure_again, write_a_sensitivity, merge):
        subprocess.run(["cp", archive.path, tmp_path / "backup"], check=True)
        change(archive)
        put_back(tmp_path / "backup", archive.path, in_place)
        with pytest.warns(QAWarning, match="was replaced"):
            found = archive.read_all("a")
    assert found == [row((2, 2)), row((3, 3), (1, 1, 1))]
    assert archive.read_sensitivities("s") == {(0, 4): 0.25} and archive.read_all("b") == [row((4, 4))]


def test_merged_rows_are_not_lost_with_the_file(archive):
    with Archive() as other:
        written(other)
        archive.merge(other)
    archive.path.unlink()
    with pytest.warns(QAWarning, match="the 20 evaluations"):
        assert archive.read_all("a") == rows(20)
    assert archive.read_sensitivities("s") == {(0, 4): 0.25}


def test_moved_and_opened_by_its_new_name(archive, tmp_path):
    before = written(archive)
    archive.path.rename(tmp_path / "new.sqlite")
    with pytest.warns(QAWarning, match="archive.sqlite is now .*new.sqlite"):
        new = Archive(tmp_path / "new.sqlite")
        assert new.read_all("a") == before
    assert new.path == archive.path == tmp_path / "new.sqlite"
    archive.write("a", row((9, 9)), FACTS)
    assert new.read_all("a") == [*before, row((9, 9))]
    assert [p.name for p in tmp_path.iterdir() if "journal" not in p.name] == ["new.sqlite"]


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic link", "hard link"])
def test_one_of_two_names_is_removed(archive, tmp_path, link):
    before, name = written(archive), tmp_path / "link.sqlite"
    archive.close()
    link(archive.path, name)
    first, second = Archive(name), Archive(archive.path)
    name.unlink()
    with pytest.warns(QAWarning, match="goes on there"):
        first.write("a", row((9, 9)), FACTS)
    assert second.read_all("a") == [*before, row((9, 9))]
    assert second.path == archive.path and not name.exists()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer")
def test_an_interrupt_at_any_moment_leaves_it_usable_for_all(archive):
    """Timers of random lengths, so that it strikes in each part of a write."""
    generator, acknowledged, struck = random.Random(0), [], 0

    def raise_it(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, raise_it)
    with closing(sqlite3.connect(archive.path, timeout=0, isolation_level=None)) as another:
        try:
            for each in rows(3000):
                try:
                    signal.setitimer(signal.ITIMER_REAL, generator.uniform(1e-4, 1e-3))
                    archive.write("a", each, FACTS)
                    acknowledged.append(each)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    struck += 1
                    another.execute("BEGIN IMMEDIATE")  # nobody else is kept out
                    another.execute("ROLLBACK")
                if struck == 150:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert struck > 20
    kept = {r.bit_widths for r in archive.read_all("a")}
    assert kept >= {r.bit_widths for r in acknowledged} and archive.check().whole


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_several_threads_may_fork_at_once(archive, tmp_path):
    others = [Archive(tmp_path / f"{index}.sqlite") for index in range(3)]

    def fork_often():
        for _ in range(20):
            try:
                child = os.fork()
            except RuntimeError as error:  # filelock refuses a fork beside another thread's
                assert "filelock" in str(error)
                continue
            if not child:
                os._exit(0)
            os.waitpid(child, 0)

    threads = [threading.Thread(target=fork_often, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for each in rows(50):
        archive.write("a", each, FACTS)
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert [archive.read_all("a"), *(other.read_all("a") for other in others)] == [rows(50), [], [], []]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_says_that_the_file_was_removed(archive):
    written(archive)
    archive.path.unlink()
    child = os.fork()
    if not child:
        status = 1
        try:
            with pytest.warns(QAWarning, match="was removed"):
                archive.read_all("a")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_in_a_network_folder_too_it_is_said_that_the_file_was_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "folder_kind", lambda folder: "nfs4")
    with pytest.warns(QAWarning, match="network folder"):
        archive = Archive(tmp_path / "archive.sqlite")
    archive.path.unlink()
    with pytest.warns(QAWarning, match="was removed"):
        assert archive.read_all("a") == []
    before = written(archive)
    archive.path.unlink()
    with pytest.warns(QAWarning, match="was removed.*the 20 evaluations"):
        assert archive.read_all("a") == before
