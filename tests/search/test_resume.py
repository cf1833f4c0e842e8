"""A search that is killed, and started again, ends as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from qa_lib import Archive

pytestmark = pytest.mark.slow

SEARCH = """
import json, sys, time
import torch
from tiny import make_tiny_model
from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, conv2d_predicate, explore

path, evaluations, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
images = torch.rand(96, 1, 6, 6, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    labels = make_tiny_model()(images).argmax(dim=1)
qmodel = QuantizedActivationsModel(make_tiny_model(), conv2d_predicate)
calibrate(qmodel, images)
evaluator = Evaluator(qmodel, images, labels, batch_size=4, workers=workers, archive=path)
print("begun", flush=True)
before, start = evaluator.images_forwarded, time.monotonic()
exploration = explore(evaluator, evaluations=evaluations, population_size=12, min_accuracy=0.4, progress=False)
print(json.dumps({
    "candidates": [(e.bit_widths, e.sums) for e in exploration.candidates],
    "front": exploration.front.values.tolist(),
    "seconds": time.monotonic() - start,
    "forwarded": evaluator.images_forwarded - before,
}))
"""


def start(tests, path, evaluations=120, workers=1):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SEARCH, str(path), str(evaluations), str(workers)],
        cwd=tests,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process):
    assert process.stdout.readline() == "begun\n"
    output, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(output)


@pytest.fixture(scope="module")
def tests(request):
    return request.config.rootpath / "tests"


@pytest.fixture(scope="module")
def undisturbed(tests, tmp_path_factory):
    return finish(start(tests, tmp_path_factory.mktemp("undisturbed") / "archive.sqlite"))


def test_killed_twice_it_ends_as_if_it_never_was(tests, undisturbed, tmp_path):
    path, generator = tmp_path / "archive.sqlite", random.Random()
    rows = [0]
    for _ in range(2):
        process = start(tests, path)
        assert process.stdout.readline() == "begun\n"
        seconds = undisturbed["seconds"] * generator.uniform(0.1, 0.5)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        frame = Archive(path).to_frame()
        rows.append(len(frame))
        print(f"SIGKILL after {seconds:.3f} s: {len(frame)} evaluations in the archive")
        assert rows[-1] >= rows[-2]
    last = finish(start(tests, path))
    print(f"then it ran {last['forwarded']} of {undisturbed['forwarded']} images")
    assert last["candidates"] == undisturbed["candidates"]
    assert last["front"] == undisturbed["front"]
    assert last["forwarded"] < undisturbed["forwarded"]
    # Not one image of a finished evaluation was shown again.
    known = int(frame["images"].sum())
    assert last["forwarded"] <= undisturbed["forwarded"] - known
    assert finish(start(tests, path))["forwarded"] == 0


def test_any_number_of_workers_goes_on_with_the_same(tests, undisturbed, tmp_path):
    path = tmp_path / "archive.sqlite"
    half = finish(start(tests, path, evaluations=60, workers=3))
    assert half["candidates"] == undisturbed["candidates"][: len(half["candidates"])]
    whole = finish(start(tests, path, workers=2))
    assert whole["candidates"] == undisturbed["candidates"]
    assert whole["front"] == undisturbed["front"]


def test_two_searches_at_once_on_one_archive(tests, undisturbed, tmp_path):
    both = [start(tests, tmp_path / "archive.sqlite") for _ in range(2)]
    for found in map(finish, both):
        assert found["candidates"] == undisturbed["candidates"]
        assert found["front"] == undisturbed["front"]
