"""What an evaluator takes of the memory, as a share of its data in the kind in which they come.

    python benchmarks/memory.py [--images 5000] [--side 224]

Each row is a process of its own: the highest resident memory after an evaluator was made and one setting measured, less that after
the imports, the model and its calibration, and over the size of the data. What the caller holds counts too where data are handed over in memory.
"""

import argparse
import json
import subprocess
import sys

FORMS = ("loader", "loader, on disk", "tensor")
SCRIPT = """
import json, resource, sys
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate


count, side, form = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

class Images(Dataset):
    def __len__(self):
        return count

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return torch.randint(256, (3, side, side), dtype=torch.uint8, generator=generator), index % 10

def scaled(images):
    return images.float() / 255

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
)
qmodel = QuantizedActivationsModel(model, conv2d_predicate)
calibrate(qmodel, scaled(torch.stack([Images()[index][0] for index in range(16)])))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if form == "tensor":
    images = torch.empty(count, 3, side, side, dtype=torch.uint8)
    for index in range(count):
        images[index] = Images()[index][0]
    given = images, torch.arange(count) % 10
else:
    given = (DataLoader(Images(), batch_size=16),)
keep = "disk" if form.endswith("disk") else "memory"
evaluator = Evaluator(qmodel, *given, transform=scaled, keep=keep)
score = evaluator.evaluate_uniform(4).score
print(json.dumps([before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, score]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--side", type=int, default=224)
    options = parser.parse_args()
    data = options.images * 3 * options.side**2
    print(
        f"work: {options.images} images of 3 x {options.side} x {options.side} bytes, {data / 1e6:.0f} MB of data",
        flush=True,
    )
    scores = set()
    for form in FORMS:
        arguments = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            SCRIPT,
            str(options.images),
            str(options.side),
            form,
        ]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        before, after, score = json.loads(done.stdout.splitlines()[-1])
        scores.add(score)
        # The kernel counts in units of 1,024 bytes; a file that is mapped counts while its pages are in use.
        rise = (after - before) * 1024
        print(
            f"{form:18} rise {rise / 1e6:6.0f} MB = {rise / data:.2f} of the data, {after * 1024 / 1e6:.0f} MB in all",
            flush=True,
        )
    print(f"identical scores: {len(scores) == 1}")


if __name__ == "__main__":
    main()
