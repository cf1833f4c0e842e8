"""Workers that are processes of their own."""

import os
import signal
import time

import pytest
import rounding


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    """With two workers, whatever became of those before."""
    from distributed import Client

    with Client(cluster) as client:
        cluster.scale(2)
        deadline = time.monotonic() + 60
        # Those too many go in their own time.
        while len(client.nthreads()) != 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield client


@pytest.fixture
def kill(client):
    """Kills the process of a worker that is there now, by its address: it has no time to say so."""
    pids = client.run(os.getpid)

    def kill_one(address):
        os.kill(pids[address], signal.SIGKILL)

    return kill_one


@pytest.fixture
def round_otherwise(client):
    """Has workers round as another build might: nothing that they say of themselves shows it."""

    def round_there(workers=None):
        client.run(rounding.break_it, workers=workers)

    yield round_there
    client.run(rounding.mend_it)
