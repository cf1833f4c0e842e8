"""What the archive costs: time to write an evaluation, size of 10,000 of them.

Evaluations as large networks have them: 53 quantizers, 4,096 images in batches of 16.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from side_by_side import work

from qa_lib import Archive
from qa_lib.archive import Row

FACTS = {"names": [f"layer{n}" for n in range(53)], "batch_size": 16, "images": 4096}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 evaluations")
    count = 1_000 if parser.parse_args().quick else 10_000
    generator, seconds = np.random.default_rng(0), []
    work(f"{count} evaluations, 53 widths and 256 counts each, a transaction for each")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.sqlite"
        archive = Archive(path)
        for _ in range(count):
            widths = tuple(generator.integers(2, 9, 53).tolist())
            row = Row(widths, tuple(generator.integers(0, 17, 256).tolist()), 4096, 1.0, 0.5)
            start = time.perf_counter()
            archive.write("fingerprint", row, FACTS)
            seconds.append(time.perf_counter() - start)
        archive.close()
        print(f"size: {path.stat().st_size / 1e6 * 10_000 / count:.2f} MB for 10,000 evaluations")
    print(
        f"median write: {1e3 * statistics.median(seconds):.3f} ms, 99th percentile {1e3 * np.quantile(seconds, 0.99):.3f} ms"
    )


if __name__ == "__main__":
    main()
