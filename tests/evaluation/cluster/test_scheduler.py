"""A scheduler that dies, and one that comes in its place at the same address."""

import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from torch import nn

from qa_lib import Evaluator, QAWarning, QuantizedActivationsModel, calibrate, conv2d_predicate

pytestmark = pytest.mark.slow

SETTINGS = [[bits, bits, 4, 4] for bits in range(2, 9)]


class Slow(nn.Module):
    """Takes its time, so that a scheduler can die meanwhile."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        time.sleep(0.05)
        return self.model(images)


class Cluster:
    """A scheduler and a worker, each a process, at one address however often they are started."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address, self.folder = f"tcp://127.0.0.1:{self.port}", folder
        self.processes = []
        # Where workers find the library, and what is defined here.
        folders = map(str, (Path(__file__).parent, Path(__file__).parents[2], Path(__file__).parents[3]))
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}

    def start(self):
        for name, *arguments in (
            ("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"),
            ("dask_worker", self.address, "--nthreads", "1", "--no-dashboard"),
        ):
            with (self.folder / f"{name}.log").open("a") as log:
                command = [sys.executable, "-m", f"distributed.cli.{name}", *arguments]
                self.processes.append(
                    subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, cwd=self.folder)
                )

    def kill_scheduler(self):
        self.processes[0].kill()
        self.processes[0].wait()

    def stop(self):
        for process in self.processes:
            process.terminate()  # a worker's nanny takes the worker with it
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.start()
    yield cluster
    cluster.stop()


def test_a_search_outlives_its_scheduler(tiny_model, images, labels, cluster):
    from distributed import Client

    qmodel = QuantizedActivationsModel(Slow(tiny_model), conv2d_predicate)
    calibrate(qmodel, images.split(48), method="max")
    expected = Evaluator(qmodel, images, labels, batch_size=8).evaluate_many(SETTINGS)
    done = []

    def kill_after_two(evaluation):
        done.append(evaluation)
        if len(done) == 2:
            cluster.kill_scheduler()
            timer = threading.Timer(1.0, cluster.start)
            timer.daemon = True
            timer.start()

    with Client(cluster.address, timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
        there = Evaluator(qmodel, images, labels, batch_size=8, client=client)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", QAWarning)  # that it has no workers meanwhile
            found = there.evaluate_many(SETTINGS, on_evaluation=kill_after_two)
        assert len(cluster.processes) == 4
        assert found == expected and len(done) == len(SETTINGS) == len(there.known())
