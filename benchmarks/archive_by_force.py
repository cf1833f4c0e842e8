"""What an archive survives: processes, threads and forked children on one file, killed at random moments.

Each trial starts two to four processes on one file. Each opens it with one to three ``Archive`` objects, and does one of
these: writes rows from several threads; closes and reopens between rows; forks children that write; searches a small network;
or measures single settings as a slider does. They end by themselves, or by SIGKILL or SIGTERM at a random moment. Whatever
``write`` had returned for was noted in another file by then (acknowledged).

Afterwards: the file is whole, every acknowledged row is there and says what was written, and a search that goes on shows
no image for a setting that is there complete.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import torch
from side_by_side import work
from torch import nn

from qa_lib import Archive, Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore
from qa_lib.archive import Row

KINDS = ("threads", "reopening", "forking", "search", "slider")
FACTS = {"names": ["a", "b", "c"], "batch_size": 10, "images": 25}
_EXPECTED = (9, 8, 4)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="how long a process works if nobody ends it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="three short trials")
    options = parser.parse_args(arguments)
    trials, seconds = (3, 0.3) if options.quick else (options.trials, options.seconds)
    work(f"{trials} trials of 2 to 4 processes on one file")
    generator, totals = random.Random(options.seed), Counter()
    small_network()  # what is compiled when it is first used
    for number in range(trials):
        # In the short form every kind of process takes part.
        kinds = [KINDS[(2 * number + n) % len(KINDS)] for n in range(2)] if options.quick else []
        with tempfile.TemporaryDirectory() as folder:
            totals += run_trial(Path(folder), generator, seconds, kinds)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {trials}", end="", file=sys.stderr)
    print(
        f"{totals['processes']} processes, {totals['killed']} of them killed or ended; {totals['acknowledged']} rows "
        f"acknowledged, {totals['lost']} of them lost, {totals['wrong']} wrong; {totals['damaged']} files damaged; "
        f"{totals['asked twice']} settings measured twice by a search that went on"
    )
    return int(any(totals[bad] for bad in ("lost", "wrong", "damaged", "asked twice")))


def run_trial(folder: Path, generator: random.Random, seconds: float, kinds: list[str]) -> Counter[str]:
    """One trial; returns what happened."""
    path, totals = folder / "archive.sqlite", Counter()
    kinds = kinds or generator.choices(KINDS, k=generator.randint(2, 4))
    processes = []
    for number, kind in enumerate(kinds):
        # Forked, so that none of them has to import torch; nothing is open here.
        process = multiprocessing.get_context("fork").Process(
            target=run_worker, args=(kind, path, number, seconds)
        )
        process.start()
        processes.append(process)
    totals["processes"] = len(processes)
    # Counted from when the first one begins to write.
    while not path.exists() and any(process.is_alive() for process in processes):
        time.sleep(0.01)
    doomed = [process for process in processes if generator.random() < 0.7]
    ends = sorted((generator.uniform(0, 1.2 * seconds), process.pid) for process in doomed)
    start = time.monotonic()
    for moment, pid in ends:
        time.sleep(max(0.0, start + moment - time.monotonic()))
        # Not reaped before the end, so the number is nobody else's.
        os.kill(pid, generator.choice((signal.SIGKILL, signal.SIGTERM)))
    for process, kind in zip(processes, kinds, strict=True):
        process.join()
        with suppress(ProcessLookupError):  # the children of one that was killed
            os.killpg(process.pid, signal.SIGKILL)
        if process.exitcode not in (0, -signal.SIGKILL, -signal.SIGTERM):
            raise RuntimeError(f"{kind} ended with {process.exitcode}")
        totals["killed"] += process.exitcode != 0
    return totals + look_at(path, folder)


def look_at(path: Path, folder: Path) -> Counter[str]:
    """What has become of the file."""
    totals: Counter[str] = Counter()
    # Before the archive: a child whose parent was killed may be writing still.
    notes = [line for note in folder.glob("acknowledged-*") for line in note.read_text().splitlines()]
    with warnings.catch_warnings(), Archive(path) as archive:
        warnings.simplefilter("ignore")
        totals["damaged"] += not archive.check().whole
        kept = {name: {row.bit_widths: row for row in archive.read_all(name)} for name in ("a", "b")}
        for line in notes:
            try:
                name, *widths = json.loads(line)
            except json.JSONDecodeError:
                continue  # its writer was killed in the middle of the note
            totals["acknowledged"] += 1
            found = kept[name].get(tuple(widths))
            totals["lost"] += found is None
            totals["wrong"] += found is not None and found.sums != _EXPECTED
        totals["asked twice"] += _measured_twice(archive)
    return totals


def _measured_twice(archive: Archive) -> int:
    """How many settings a search shows to the model that were complete in the archive."""
    qmodel, evaluator = small_network()
    known = {e.bit_widths for e in evaluator.using(archive).known() if e.complete}
    shown, write = [], archive.write

    def watch(fingerprint: str, row: Row, facts: dict, *, again: bool = False) -> None:
        shown.append(row.bit_widths)
        write(fingerprint, row, facts, again=again)

    archive.write = watch  # type: ignore[method-assign]
    search(qmodel, evaluator, archive)
    return len(known & set(shown))


def run_worker(kind: str, path: Path, number: int, seconds: float) -> None:
    """What a process does, until its time is up or it is killed."""
    generator = random.Random(number * 1000 + os.getpid())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    if kind in ("search", "slider"):
        qmodel, evaluator = small_network()
        evaluator = evaluator.using(path)
        others = [Archive(path) for _ in range(generator.randint(0, 2))]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if kind == "search":
                search(qmodel, evaluator, evaluator.archive)
            evaluator.evaluate(
                [generator.randint(2, 8) for _ in qmodel.names], remeasure=generator.random() < 0.2
            )
        del others
        return
    archives = [Archive(path) for _ in range(generator.randint(1, 3))]
    end = time.monotonic() + seconds
    if kind == "threads":
        threads = [
            threading.Thread(
                target=write_until, args=(archives[n % len(archives)], f"{number}-{n}", 10 * number + n, end)
            )
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elif kind == "reopening":
        for turn in range(1000):
            if time.monotonic() > end:
                break
            write_until(archives[0], f"{number}-{turn}", 10 * number, end, start=5 * turn, most=5)
            if generator.random() < 0.5:
                archives.pop(0).close()
                archives.append(Archive(path))
    else:
        children = []
        for child in range(3):
            write_until(archives[0], f"{number}-before-{child}", 10 * number + child, end, most=20)
            children.append(os.fork())
            if not children[-1]:
                try:
                    write_until(archives[-1], f"{number}-child-{child}", 10 * number + 5 + child, end)
                finally:
                    os._exit(0)
        write_until(archives[0], f"{number}-parent", 10 * number + 4, end)
        for process in children:
            os.waitpid(process, 0)


def write_until(
    archive: Archive, name: str, key: int, end: float, *, start: int = 0, most: int = 5000
) -> None:
    """Writes rows, and notes each once ``write`` has returned."""
    with open(archive.path.with_name(f"acknowledged-{name}"), "a", buffering=1) as note:
        for index in range(start, start + most):
            if time.monotonic() > end:
                return
            widths, fingerprint = (2 + key, 2 + index % 250, 2 + index // 250), "ab"[index % 2]
            archive.write(fingerprint, Row(widths, _EXPECTED, 25, 0.1, sum(_EXPECTED) / 25), FACTS)
            note.write(json.dumps([fingerprint, *widths]) + "\n")


def small_network():
    """A calibrated network, and an evaluator of it, the same in every process."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    layers = [
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(144, 5),
    ]
    model = nn.Sequential(*layers).eval()
    images = torch.rand(96, 1, 6, 6)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    qmodel = QuantizedActivationsModel(model, conv2d_predicate)
    calibrate(qmodel, images, method="max")
    return qmodel, Evaluator(qmodel, images, labels, batch_size=8, workers=1)


def search(qmodel, evaluator, archive) -> None:
    """A short search, the same one in every process."""
    explore(
        evaluator,
        archive=archive,
        evaluations=24,
        population_size=8,
        min_accuracy=0.3,
        progress=False,
    )


if __name__ == "__main__":
    sys.exit(main())
