"""How long somebody who lets go of a slider waits for the measured number.

Drags on the reference network, one after another, each of one layer to another width, as a hand makes them: half of them stay at the
layer of the drag before. From the release to the number in the readout, through the panel's own callbacks (the browser's part is in
tests/test_panel_in_browser.py). Three panels take turns: with reuse of what lies before the changed layer, without, and the
evaluator's whole pass. No setting is known beforehand. Beside that: what a prediction takes, and loading 110 sliders.
"""

import argparse
import random
import time

import numpy as np
import torch
from side_by_side import work

from qa_lib import Archive, Evaluator, QuantizedActivationsModel, calibrate, load_workload
from qa_lib.evaluation.live import LiveEvaluator
from qa_lib.panel import BitWidthPanel, Equalizer


def percentiles(seconds: list[float]) -> str:
    return f"median {np.median(seconds):.3f} s, 95th percentile {np.percentile(seconds, 95):.3f} s"


def drags(layers: int, count: int) -> list[tuple[int, ...]]:
    draw, widths, layer = random.Random(1), [8] * layers, 0
    made, seen = [], {tuple(widths)}
    while len(made) < count:
        if draw.random() < 0.5:
            layer = draw.randrange(layers)
        widths[layer] = draw.randint(3, 8)
        if tuple(widths) not in seen:
            seen.add(tuple(widths))
            made.append(tuple(widths))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="8 drags on the small network")
    options = parser.parse_args()
    name, count = ("fashion_mnist_convnet", 8) if options.quick else ("fashion_mnist", 100)
    workload = load_workload(name)
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader())
    work(f"{name}, {count} drags, {len(workload.search_images)} images, {torch.get_num_threads()} threads")
    first = Evaluator(qmodel, workload.search_images, workload.search_labels)
    panels = {}
    for label in ("with reuse", "without reuse"):
        panels[label] = BitWidthPanel(first.using(Archive()))
        if label == "without reuse":
            session = panels[label].session
            session.live = session.knowledge.live = LiveEvaluator(session.evaluator, reuse=False)
            session.live.prepare()
        panels[label].wait()
    whole = first.using(Archive())
    seconds: dict[str, list[float]] = {label: [] for label in (*panels, "predicted", "whole pass")}
    for widths in drags(len(qmodel.names), count):
        found = set()
        for label, panel in panels.items():
            start = time.perf_counter()
            panel.equalizer.moving = list(widths)
            seconds["predicted"].append(time.perf_counter() - start)
            panel.equalizer.moving = []
            start = time.perf_counter()
            panel.equalizer.release(widths)
            panel.session._requests.wait()
            seconds[label].append(time.perf_counter() - start)
            found.add(panel.evaluation.score)
            panel.wait()
        start = time.perf_counter()
        found.add(whole.evaluate(widths).score)
        seconds["whole pass"].append(time.perf_counter() - start)
        if len(found) != 1:
            raise SystemExit(f"{widths}: the numbers differ, {found}")
    for label, each in seconds.items():
        print(f"  {label:14} {percentiles(each)}")
    print("largest difference to the whole pass: 0")
    equalizer = Equalizer([f"blocks.{index // 4}.conv{index % 4}" for index in range(110)])
    loads = []
    for num_bits in (4, 5, 6, 7, 3) * 4:
        start = time.perf_counter()
        equalizer.load([num_bits] * 110)
        loads.append(time.perf_counter() - start)
    print(f"  110 sliders load a setting: {percentiles(loads)}")


if __name__ == "__main__":
    main()
