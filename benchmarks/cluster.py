"""How much faster two workers of a Dask cluster are than one, and what handing out work costs.

Two clusters on this machine, of one and of two processes with one thread each, take turns: random settings measured on the whole
search set, and on the reference network a search whose sensitivities are given. All find the same, to the bit, or the benchmark ends
with an error. The cost of a range is what one worker's time comes to beside its forward passes. How far it would go is simulated: the
candidates of that search with the times that they took, handed out by the same code to more workers, each range with that cost.
"""

import argparse
import heapq
import itertools
import statistics
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from distributed import Client, LocalCluster
from networks import NETWORKS
from side_by_side import interleaved_seconds, median_ratio, work

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, explore, sensitivity
from qa_lib.batches.memory import keep_freed_memory
from qa_lib.evaluation.cluster import fleet
from qa_lib.forward.tasks import Board, Task


@dataclass
class Recorder:
    """What is handed out to a cluster while this is entered: of the candidates, generation by generation, batches until they stopped and
    seconds for a batch; how many ranges; and seconds from the first to the last answer, beside those of forward passes."""

    generations: list[list[tuple[int, float]]] = field(default_factory=list)
    ranges: int = 0
    beside: float = 0.0

    def __enter__(self):
        self._run, self._next = fleet.Fleet.run, fleet.Board.next

        def run(fleet, shipment, tasks, *given, **options):
            start = time.perf_counter()
            found = self._run(fleet, shipment, tasks, *given, **options)
            self.beside += time.perf_counter() - start - sum(task.seconds for task in tasks)
            self.generations.append([(len(task.sums), task.seconds / len(task.sums)) for task in tasks])
            return found

        def hand_out(board, most):
            chosen = self._next(board, most)
            self.ranges += chosen is not None
            return chosen

        fleet.Fleet.run, fleet.Board.next = run, hand_out
        return self

    def __exit__(self, *_):
        fleet.Fleet.run, fleet.Board.next = self._run, self._next


def simulated_seconds(generation, batches, workers, overhead):
    """How long ``workers`` take for the candidates of a generation, by the code that hands out theirs."""

    def stops_at(count):
        return lambda task: len(task.sums) >= count

    tasks = [Task((index,), hopeless=stops_at(count)) for index, (count, _) in enumerate(generation)]
    board, now, ends, running = Board(tasks, [1] * batches), 0.0, itertools.count(), []
    free, speed = [0] * workers, fleet.Speed(generation[0][1])
    while not board.done:
        while free and (given := board.next(speed.batches(board.left / workers))) is not None:
            free.pop()
            count, seconds = generation[given.task]
            length = (
                min(len(given.batches), max(1, count - given.batches.start))
                if given.from_the_front
                else len(given.batches)
            )
            heapq.heappush(running, (now + overhead + length * seconds, next(ends), given, length))
        now, _, given, length = heapq.heappop(running)
        free.append(0)
        board.take(given, [(np.ones(1), 0.0)] * length)
    return now


def passes(network, images, count):
    """Seconds for ``count`` passes of the plain float model over a few images on one torch thread."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the workers of a search do
    with torch.inference_mode():
        network(images)
        start = time.perf_counter()
        for _ in range(count):
            network(images)
        return time.perf_counter() - start


def ceiling(client, network, images, repeats):
    """How much two processes that know nothing of each other do in the time in which one alone does 1: they share caches and memory."""
    workers, model = list(client.nthreads()), client.scatter(network, broadcast=True)
    count = max(1, round(4 / max(1e-3, passes(network, images, 2) / 2)))

    def run(some):
        return max(
            client.gather(
                [client.submit(passes, model, images, count, workers=[w], pure=False) for w in some]
            )
        )

    ratios = [2 * run(workers[:1]) / run(workers) for _ in range(repeats)]
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few settings, a short search, one repeat")
    parser.add_argument("--network", choices=("reference", "efficientnet_lite0"), default="reference")
    options = parser.parse_args()
    large = options.network != "reference"
    images = (128 if large else 512) if options.quick else (256 if large else 4096)
    settings, repeats, passes = (4, 1, 20) if options.quick else (8 if large else 20, 3, 30)
    network = NETWORKS[options.network](images)
    qmodel = QuantizedActivationsModel(network.model, network.predicate)
    calibrate(qmodel, network.images[:128])
    torch.set_num_threads(1)
    work(f"{options.network}, {len(qmodel.names)} quantizers, {images} images, {settings} settings")
    draw = np.random.default_rng(0)
    chosen = [draw.integers(3, 9, len(qmodel.names)).tolist() for _ in range(settings)]
    local = Evaluator(qmodel, network.images, network.labels, workers=1)
    expected = local.evaluate_many(chosen)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as one,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as two,
        Client(one) as first,
        Client(two) as second,
    ):
        evaluators = {count: local.on(client) for count, client in ((1, first), (2, second))}

        def measure(count):
            if evaluators[count].evaluate_many(chosen, remeasure=True) != expected:
                raise SystemExit(f"{count} workers find something else")

        def compare(label, runs):
            seconds = interleaved_seconds(runs, repeats)
            medians = ", ".join(f"{name} {statistics.median(each):.2f} s" for name, each in seconds.items())
            names = list(seconds)
            print(
                f"  {label}: {medians}; two workers to one: {median_ratio(seconds[names[0]], seconds[names[1]]):.2f}",
                flush=True,
            )

        print(
            f"  two processes that know nothing of each other, to one alone: {ceiling(second, network.model, local.search_set.batches[0][0], repeats):.2f}",
            flush=True,
        )
        compare("settings", {f"{count} x 1": lambda count=count: measure(count) for count in (1, 2)})
        with Recorder() as once:
            evaluators[1].evaluate_many(chosen, remeasure=True)
        overhead = once.beside / once.ranges
        print(f"  what handing out a range costs: {1e3 * overhead:.1f} ms ({once.ranges} ranges)", flush=True)
        if large:
            return
        table = sensitivity(qmodel, local.sample_images(128), progress=False)
        found = {}

        def search(count):
            evaluator = Evaluator(qmodel, network.images, network.labels, workers=1).on(
                {1: first, 2: second}[count]
            )
            evaluator.evaluate_uniform(8)  # greets
            found[count] = explore(
                evaluator, min_accuracy=0.85, full_passes=passes, sensitivities=table, progress=False
            )

        took = {1: [], 2: []}
        for count in (1, 2) * repeats:
            search(count)
            took[count].append(found[count].made.seconds)  # from when its workers were greeted
        medians = ", ".join(f"{count} x 1 {statistics.median(each):.2f} s" for count, each in took.items())
        print(f"  search: {medians}; two workers to one: {median_ratio(took[1], took[2]):.2f}", flush=True)
        if found[1].candidates != found[2].candidates or not found[1].front.equals(found[2].front):
            raise SystemExit("the searches differ")
        with Recorder() as recorder:
            search(1)
        wall = found[1].made.seconds
        recorder.generations.pop(0)  # what it was greeted with
    batches = len(local.search_set.batches)
    spent = sum(count * seconds for generation in recorder.generations for count, seconds in generation)
    alone = wall - spent
    print(
        f"  the search: {sum(map(len, recorder.generations))} candidates, {spent:.1f} s of forward passes, {max(0.0, alone):.2f} s beside them"
    )
    times = {
        workers: max(0.0, alone)
        + sum(simulated_seconds(g, batches, workers, max(0.0, overhead)) for g in recorder.generations)
        for workers in (1, 2, 4, 8, 16, 32, 64)
    }
    for workers, seconds in times.items():
        print(
            f"  simulated, {workers:2} workers: {seconds:6.2f} s, {times[1] / seconds:5.1f} times as fast, {times[1] / seconds / workers:.0%} of the ideal"
        )


if __name__ == "__main__":
    main()
