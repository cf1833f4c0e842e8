"""On the workers of a cluster the same is found as here, to the bit, whoever comes and goes meanwhile."""

import copy
import gc
import itertools
import os
import pickle
import signal
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
import torch
from distributed import Client
from torch import nn
from torch.utils.data import DataLoader, Dataset

from qa_lib import (
    Archive,
    Evaluator,
    QAWarning,
    QuantizedActivationsModel,
    calibrate,
    conv2d_predicate,
    explore,
)
from qa_lib.errors import ClusterError, MetricError
from qa_lib.evaluation.cluster import fleet as fleet_module
from qa_lib.evaluation.cluster import worker
from qa_lib.evaluation.early_stop import StopRule
from qa_lib.metrics import Accuracy
from qa_lib.panel import BitWidthPanel

pytestmark = pytest.mark.slow

SETTINGS = [[bits, 8 - index % 6, bits, 3] for index, bits in enumerate((2, 3, 4, 5, 6, 7, 8, 4))]


def everything(evaluations):
    """What is compared, and what is not (``divergences``)."""
    return [(e, e.sums, e.divergences) for e in evaluations]


def small_evaluator(qmodel, images, labels=None, **options):
    return Evaluator(qmodel, images, labels, batch_size=8, **options)


@pytest.fixture
def here(qmodel, images, labels):
    return small_evaluator(qmodel, images, labels)


@pytest.fixture
def there(qmodel, images, labels, client):
    return small_evaluator(qmodel, images, labels, client=client)


def test_the_same_to_the_bit(here, there):
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))


@pytest.mark.parametrize("by", ["score", "divergence"])
def test_stopped_where_it_is_stopped_here(here, there, by):
    rules = [
        StopRule(min_score=0.9),
        StopRule(min_score=0.5, completed=(((2, 2, 2, 2), 1e-4),), by="divergence"),
    ]
    rule = rules[by == "divergence"]
    found = there.evaluate_many(SETTINGS, stop=rule)
    assert everything(found) == everything(here.evaluate_many(SETTINGS, stop=rule))
    assert not all(e.complete for e in found)
    assert everything(there.evaluate_many(SETTINGS)) == everything(
        here.evaluate_many(SETTINGS)
    )  # goes on from there


def test_a_search_is_the_same_search(qmodel, images, labels, client, cluster):
    def search(client):
        evaluator = small_evaluator(qmodel, images, labels)
        options = {"full_passes": 40, "population_size": 8, "min_score": 0.6, "progress": False}
        return explore(evaluator, client=client, **options)

    alone, two = search(None), search(client)
    cluster.scale(4)
    client.wait_for_workers(4, timeout=60)
    for other in (two, search(client)):
        assert everything(other.candidates) == everything(alone.candidates)
        assert other.front.equals(alone.front)


class Slow(nn.Module):
    """Takes its time, so that somebody can die meanwhile."""

    def __init__(self, model, seconds=0.02):
        super().__init__()
        self.model, self.seconds = model, seconds

    def forward(self, images):
        time.sleep(self.seconds)
        return self.model(images)


@pytest.fixture
def slow_model(tiny_model, images):
    quantized = QuantizedActivationsModel(Slow(tiny_model), conv2d_predicate)
    calibrate(quantized, images.split(48), method="max")
    return quantized


def later(seconds, do):
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()
    return timer


def test_a_worker_is_killed_in_the_middle(slow_model, images, labels, client, kill):
    expected = small_evaluator(slow_model, images, labels).evaluate_many(SETTINGS)
    there, written = small_evaluator(slow_model, images, labels, client=client), []
    there.evaluate([8] * 4)  # so that all are greeted
    first, *_ = client.nthreads()

    def kill_first(evaluation):
        if not written:
            kill(first)
        written.append(evaluation)

    found = there.evaluate_many(SETTINGS, on_evaluation=kill_first)
    assert first not in client.nthreads()
    assert everything(found) == everything(expected)
    assert len(written) == len(SETTINGS) and len(there.known()) == len(SETTINGS) + 1


def test_all_are_killed_and_others_come(slow_model, images, labels, client, cluster, kill, monkeypatch):
    monkeypatch.setattr("qa_lib.evaluation.cluster.greeting._SAY_AFTER", 0.0)
    expected = small_evaluator(slow_model, images, labels).evaluate_many(SETTINGS)
    there = small_evaluator(slow_model, images, labels, client=client)
    there.evaluate([8] * 4)

    alive = list(client.nthreads())

    def kill_all(evaluation):
        while alive:
            kill(alive.pop())
            if not alive:
                cluster.scale(0)  # so that nobody comes in their place
                while client.nthreads():
                    time.sleep(0.05)
                later(1.0, lambda: cluster.scale(2))

    with pytest.warns(QAWarning, match="has no workers: waiting for one"):
        found = there.evaluate_many(SETTINGS, on_evaluation=kill_all)
    assert everything(found) == everything(expected)


def test_who_comes_late_helps(slow_model, images, labels, client, cluster):
    there = small_evaluator(slow_model, images, labels, client=client)
    cluster.scale(1)
    while len(client.nthreads()) > 1:
        time.sleep(0.1)
    first = set(client.nthreads())
    timer = later(0.2, lambda: cluster.scale(2))
    found = there.evaluate_many([[a, b, 4, 4] for a in range(2, 9) for b in range(2, 6)])
    timer.join()
    assert all(e.complete for e in found)
    believed = set(there._runner.remote.fleet.greeting.believed)
    assert believed - first


def test_interrupted_with_nobody_there_it_gives_what_there_is(slow_model, images, labels, client, cluster):
    there = small_evaluator(slow_model, images, labels, client=client)
    done = []

    def stop_after(evaluation):
        done.append(evaluation)
        if len(done) == 5:
            cluster.scale(0)
            later(2.0, lambda: os.kill(os.getpid(), signal.SIGINT))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", QAWarning)
        exploration = explore(there, full_passes=50, progress=False, on_evaluation=stop_after)
    assert exploration.interrupted and len(exploration.evaluations) >= 5
    again = small_evaluator(slow_model, images, labels).evaluate(exploration.measured[-1].bit_widths)
    assert again == exploration.measured[-1]


def test_a_worker_with_other_settings_is_left_out_by_name(here, there, client):
    one, other = client.nthreads()
    client.run(torch.set_float32_matmul_precision, "medium", workers=[one])
    try:
        with pytest.warns(
            QAWarning,
            match=f"a worker is left out, {one}.*float32_matmul_precision is 'medium' there, 'highest' here",
        ) as told:
            found, deadline = there.evaluate_many(SETTINGS), time.monotonic() + 60
            while not told.list and time.monotonic() < deadline:  # the other may have been through before
                there.evaluate_many(SETTINGS, remeasure=True)
    finally:
        client.run(torch.set_float32_matmul_precision, "highest", workers=[one])
    assert everything(found) == everything(here.evaluate_many(SETTINGS))
    assert list(there._runner.remote.fleet.greeting.believed) == [other]


def test_a_task_is_small(there, client, monkeypatch):
    sizes = []
    submit = type(client).submit

    def measured(self, function, *args, **options):
        if function is fleet_module.measure_range:
            sizes.append(len(pickle.dumps((args, options))))
        return submit(self, function, *args, **options)

    monkeypatch.setattr(type(client), "submit", measured)
    there.evaluate_many(SETTINGS, stop=StopRule(min_score=0.9))
    assert sizes and max(sizes) < 1024


class Unsendable(nn.Module):
    """Can be copied, and not pickled."""

    def __init__(self, model):
        super().__init__()
        self.model, self.lock = model, threading.Lock()

    def __deepcopy__(self, memo):
        return Unsendable(self.model)

    def forward(self, images):
        return self.model(images)


def test_a_model_that_cannot_be_pickled_is_one_sentence(tiny_model, images, labels, client):
    module = Unsendable(tiny_model)
    quantized = QuantizedActivationsModel(
        tiny_model, conv2d_predicate, forward=lambda model, images: model(images) if module.lock else None
    )
    calibrate(quantized, images.split(48), method="max")
    with pytest.raises(ClusterError, match="the model cannot be sent to workers .*lock"):
        small_evaluator(quantized, images, labels, client=client).evaluate([4] * 4)


class FailsThere(Slow):
    """Runs out of memory in some processes, once it has proven itself there."""

    def __init__(self, model, where):
        super().__init__(model, 0.0)
        self.where = where

    def forward(self, images):
        if os.getpid() in self.where and next(calls) > 40:
            raise MemoryError("no room")
        return self.model(images)


calls = itertools.count()


@pytest.mark.filterwarnings("ignore:a worker is left out")  # if there is time to find out
@pytest.mark.parametrize("everywhere", [False, True], ids=["one", "all"])
def test_what_fails_on_one_worker_goes_to_another_and_on_all_is_an_error(
    tiny_model, images, labels, client, everywhere
):
    pids = client.run(os.getpid)
    failing = [pid for pid in pids.values() if everywhere or pid == min(pids.values())]
    quantized = QuantizedActivationsModel(FailsThere(tiny_model, failing), conv2d_predicate)
    calibrate(quantized, images.split(48), method="max")
    there = small_evaluator(quantized, images, labels, client=client)
    settings = [[bits, other, 4, 4] for bits in range(2, 9) for other in range(2, 6)]
    if everywhere:
        with pytest.raises(ClusterError, match="can stand for this machine.*no room"):
            there.evaluate_many(settings)
        return
    expected = small_evaluator(quantized, images, labels).evaluate_many(settings)
    assert everything(there.evaluate_many(settings)) == everything(expected)
    assert not {pids[each] for each in there._runner.remote.fleet.greeting.believed} & set(failing)


class Picky(Accuracy):
    """Cannot measure one of the batches."""

    def measure(self, outputs, targets):
        if torch.equal(targets, self.refused):
            raise ValueError("not these")
        return super().measure(outputs, targets)


def test_what_fails_everywhere_is_the_error_that_it_is_here(qmodel, images, client):
    metric, labels = Picky(), torch.arange(96) % 5
    metric.refused = labels[16:24]  # none of those that a worker proves itself on
    here = small_evaluator(qmodel, images, labels, metric=metric, hardest_first=False)
    for evaluator in (here, here.on(client)):
        with pytest.raises(MetricError, match="raised ValueError: not these"):
            evaluator.evaluate([4] * 4)


class OnDisk(Dataset):
    """Items that each reads by itself."""

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 96

    def __getitem__(self, index):
        return torch.load(self.path)[index], torch.load(self.path.with_suffix(".y"))[index]


def test_data_on_a_disk_are_read_where_they_are_needed(qmodel, images, labels, client, here, tmp_path):
    torch.save(images, tmp_path / "x")
    torch.save(labels, tmp_path / "x.y")
    there = small_evaluator(qmodel, OnDisk(tmp_path / "x"), client=client)
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))
    assert len(there._runner.remote._shipment.data) < 4_000 < images.nbytes


class Unsent(OnDisk):
    """Holds what cannot be sent."""

    def __init__(self, images, labels):
        self.images, self.labels, self.lock = images, labels, threading.Lock()

    def __getitem__(self, index):
        return self.images[index], self.labels[index]


def test_data_that_cannot_be_read_there_are_sent(qmodel, images, labels, client, here):
    there = small_evaluator(qmodel, Unsent(images, labels), client=client)
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))


def test_no_second_copy_of_tensors_is_kept(qmodel, images, labels):
    given = weakref.ref(images := images.clone())
    evaluator = small_evaluator(qmodel, images, labels)
    del images
    gc.collect()
    assert given() is None and evaluator.images == 96


def test_a_mapped_array_is_mapped_there(qmodel, images, labels, client, here, tmp_path):
    np.save(tmp_path / "x.npy", images.numpy())
    there = small_evaluator(qmodel, np.load(tmp_path / "x.npy", mmap_mode="r"), labels, client=client)
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))
    assert len(there._runner.remote._shipment.data) < 4_000


def test_a_mapped_array_that_holds_what_its_file_does_not_is_sent(qmodel, images, labels, client, tmp_path):
    np.save(tmp_path / "x.npy", images.numpy())
    given = np.load(tmp_path / "x.npy", mmap_mode="c")
    given[:9] = 0.5
    there, here = (small_evaluator(qmodel, given, labels, client=c) for c in (client, None))
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))


def test_a_loader_with_processes_of_its_own_reads_there_without(
    qmodel, images, labels, client, here, tmp_path
):
    torch.save(images, tmp_path / "x")
    torch.save(labels, tmp_path / "x.y")
    loader = DataLoader(OnDisk(tmp_path / "x"), batch_size=8, num_workers=2, prefetch_factor=3)
    there = small_evaluator(qmodel, loader, client=client)
    client.run(worker._search_sets.clear)  # so that they read
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))
    assert loader.num_workers == 2


def test_many_at_once_push_one_another_out_and_are_right(tiny_model, images, labels, client):
    """A worker keeps few models."""
    client.run(setattr, worker, "_MOST_KEPT", 1)
    try:
        found = {}
        models = {shift: copy.deepcopy(tiny_model) for shift in range(3)}

        def run(shift):
            quantized = QuantizedActivationsModel(models[shift], conv2d_predicate)
            calibrate(quantized, (images + shift / 10).split(48), method="max")
            here = small_evaluator(quantized, images + shift / 10, labels)
            found[shift] = [
                everything(each.evaluate_many(SETTINGS)) for each in (here, here.using(Archive()).on(client))
            ]

        threads = [threading.Thread(target=run, args=(shift,)) for shift in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(found) == 3 and all(here == there for here, there in found.values())
    finally:
        client.run(setattr, worker, "_MOST_KEPT", worker._MOST_KEPT)


def test_what_goes_wrong_there_is_an_answer():
    """What a task raises is printed by Dask, insides and all."""
    found = worker.measure_range("nobody knows it", (8,), range(1), None, None, each=False)
    assert isinstance(found.error, worker.ForgottenError)


def test_a_client_that_is_closed_in_the_middle_is_one_sentence(qmodel, images, labels, cluster):
    with (
        Client(cluster) as client,
        pytest.raises(ClusterError, match="the client of the cluster is closed") as told,
    ):
        there = small_evaluator(qmodel, images, labels)
        explore(
            there, client=client, full_passes=40, population_size=8, progress=False,
            on_evaluation=lambda e: client.close() if e.bit_widths == (4,) * 4 else None,
        )  # fmt: skip
    assert told.value.exploration.candidates


def test_a_panel_does_not_wait_for_a_cluster(qmodel, images, labels, client, cluster):
    there = small_evaluator(qmodel, images, labels, client=client)
    there.evaluate([8] * 4)
    cluster.scale(0)
    while client.nthreads():
        time.sleep(0.05)
    panel = BitWidthPanel(there)
    assert panel.set_bit_widths([3, 4, 5, 6]) == small_evaluator(qmodel, images, labels).evaluate(
        [3, 4, 5, 6]
    )
    assert panel.wait(60)


def test_a_model_that_changes_is_sent_anew(qmodel, images, labels, client):
    there, here = (small_evaluator(qmodel, images, labels, client=c) for c in (client, None))
    before = there.evaluate_many(SETTINGS)
    calibrate(qmodel, images.split(40), method="mse")
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))
    with torch.no_grad():
        qmodel.model.classifier.weight.mul_(1.5)
    assert everything(there.evaluate_many(SETTINGS)) == everything(here.evaluate_many(SETTINGS))
    assert everything(there.evaluate_many(SETTINGS)) != everything(before)


@pytest.mark.parametrize(
    ("given", "said"),
    [("tcp://127.0.0.1:8786", "client is str; give a distributed.Client"), (3, "client is int")],
    ids=["an address", "a number"],
)
def test_what_is_no_client_is_refused_at_once(qmodel, images, labels, given, said):
    with pytest.raises(ClusterError, match=said):
        small_evaluator(qmodel, images, labels, client=given)


def test_a_closed_client_is_refused(qmodel, images, labels, cluster):
    from distributed import Client

    client = Client(cluster)
    there = small_evaluator(qmodel, images, labels, client=client)
    client.close()
    with pytest.raises(ClusterError, match="the client of the cluster is closed: make a new one"):
        there.evaluate([4] * 4)
    with pytest.raises(ClusterError, match="client is closed; give one that is connected"):
        there.on(client)
