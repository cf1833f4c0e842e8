"""What the archive costs: time to write an evaluation, size of 10,000 of them, time to open a large file that somebody else has
left, and a whole search that keeps everything in a file beside one that keeps it in memory.

Evaluations as large networks have them: 53 quantizers, 4,096 images in batches of 16. The file is on the disk of the folder for
temporary files.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from side_by_side import interleaved_seconds, median_ratio, work

from qa_lib import Archive, Evaluator, QuantizedActivationsModel, calibrate, explore, load_workload
from qa_lib.archive import Row

FACTS = {"names": [f"layer{n}" for n in range(53)], "batch_size": 16, "images": 4096}


def rows(count: int) -> Iterator[Row]:
    generator = np.random.default_rng(0)
    for _ in range(count):
        widths, counts = generator.integers(2, 9, 53), generator.integers(0, 17, 256)
        yield Row(tuple(widths.tolist()), tuple(counts.tolist()), 4096, 1.0, int(counts.sum()) / 4096)


def write(folder: Path, count: int) -> None:
    """One evaluation at a time."""
    work(f"{count:,} evaluations, 53 widths and 256 counts each, a transaction for each")
    seconds = []
    with Archive(folder / "written.sqlite") as archive:
        for row in rows(count):
            start = time.perf_counter()
            archive.write("fingerprint", row, FACTS)
            seconds.append(time.perf_counter() - start)
    size = (folder / "written.sqlite").stat().st_size / 1e6 * 10_000 / count
    print(f"size: {size:.2f} MB for 10,000 evaluations")
    print(
        f"median write: {1e3 * statistics.median(seconds):.3f} ms, 95th percentile {1e3 * np.quantile(seconds, 0.95):.3f} ms"
    )


def open_large(folder: Path, count: int) -> None:
    """A file of this many evaluations, looked through before it is believed."""
    work(f"{count:,} evaluations in a file that another process has left")
    with Archive(folder / "large.sqlite") as archive:
        memory = Archive()
        for row in rows(count):
            memory.write("fingerprint", row, FACTS)
        archive.merge(memory)
    seconds = []
    for repeat in range(3):
        copy = folder / f"copy{repeat}.sqlite"
        shutil.copy(folder / "large.sqlite", copy)  # nobody has this one open
        start = time.perf_counter()
        Archive(copy).close()
        seconds.append(time.perf_counter() - start)
    print(f"median of opening it: {statistics.median(seconds):.2f} s")


def search(folder: Path, name: str, full_passes: float, repeats: int) -> None:
    """The same search, with its archive in a file and in memory."""
    work(
        f"explore() for {full_passes:g} full passes on {name}, archive in a file and in memory, {repeats} times in turn"
    )
    workload = load_workload(name)
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader())
    evaluator = Evaluator(qmodel, workload.search_images, workload.search_labels)
    files = iter(folder / f"search{n}.sqlite" for n in range(repeats + 1))
    runs = {
        name: lambda make=make: explore(
            evaluator, min_accuracy=0.85, full_passes=full_passes, archive=make(), progress=False
        )
        for name, make in (("file", lambda: Archive(next(files))), ("memory", Archive))
    }
    seconds = interleaved_seconds(runs, repeats)
    for name, found in seconds.items():
        print(f"{name}: {', '.join(f'{s:.2f}' for s in found)} s")
    print(f"ratio of seconds, file to memory: {median_ratio(seconds['file'], seconds['memory']):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="little of it, on the small network")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), 200 if quick else 10_000)
        open_large(Path(folder), 1_000 if quick else 200_000)
        network = "fashion_mnist_convnet" if quick else "fashion_mnist"
        search(Path(folder), network, 5 if quick else 60, 1 if quick else 5)


if __name__ == "__main__":
    main()
