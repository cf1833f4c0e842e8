"""What a change of one layer costs with IncrementalForward, in whole forward passes.

On the reference network and its calibration images, one torch thread: each quantizer in turn goes to 4 bits
while the others stay at 8. Incremental and whole pass take turns, and have to agree bit for bit.
"""

import argparse
import statistics

import torch
from plain import calibrated
from side_by_side import interleaved_seconds, work

from qa_lib import IncrementalForward, load_workload
from qa_lib.batches.items import in_channels_last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="128 images, one repeat")
    options = parser.parse_args()
    torch.set_num_threads(1)
    workload = load_workload("fashion_mnist")
    qmodel = calibrated(workload)
    images = workload.calibration_images[: 128 if options.quick else None]
    batches = [in_channels_last(batch) for batch in images.split(128)]
    incremental = IncrementalForward(qmodel, batches)
    work(f"{len(images)} images, {incremental.kept_bytes / 2**20:.0f} MiB of kept activations")

    def whole(widths: dict[str, int]) -> torch.Tensor:
        with qmodel.temporary_bit_widths(widths), torch.inference_mode():
            return torch.cat([qmodel(batch) for batch in batches])

    ratios, total = {}, {"incremental": 0.0, "whole": 0.0}
    for name in qmodel.names:
        widths = {name: 4}
        if not torch.equal(incremental(widths), whole(widths)):
            raise SystemExit(f"{name}: the incremental pass gives other bits than the whole one")
        runs = {"incremental": lambda w=widths: incremental(w), "whole": lambda w=widths: whole(w)}
        seconds = interleaved_seconds(runs, 1 if options.quick else 9)
        medians = {run: statistics.median(found) for run, found in seconds.items()}
        ratios[name] = medians["incremental"] / medians["whole"]
        total = {run: total[run] + medians[run] for run in total}
        print(f"  {name:22} {ratios[name]:.3f} of a whole pass", flush=True)
    print(f"largest difference to the whole pass: 0.0, in all {len(ratios)} settings")
    print(f"ratio for the last layer, incremental to whole: {ratios[qmodel.names[-1]]:.3f}")
    print(f"ratio for the sweep, incremental to whole: {total['incremental'] / total['whole']:.3f}")


if __name__ == "__main__":
    main()
