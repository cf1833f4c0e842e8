"""How long somebody who moves a slider in JupyterLab waits: for the prediction while it moves, for the measured number once it is let go of.

A real JupyterLab in headless Chromium (on the path, or CHROMIUM), whose kernel shows the panel of a network; a mouse that takes hold of a
slider, moves it to another width, and lets go. Both times are taken in the page: from the pointer's event until the readout says what it
is waited for. With --beside-a-search, a cell runs a search on all cores meanwhile.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from lab_server import panel_in_lab
from side_by_side import work

ROOT = Path(__file__).parent.parent
SETUP = """\
import sys
sys.path.insert(0, {benchmarks!r})
from networks import NETWORKS
from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, explore
from qa_lib.panel import BitWidthPanel
network = NETWORKS[{network!r}]({images})
qmodel = QuantizedActivationsModel(network.model, network.predicate)
_ = calibrate(qmodel, network.images[:128])
evaluator = Evaluator(qmodel, network.images, network.labels)"""
PANEL = "panel = BitWidthPanel(evaluator)\npanel"
SEARCH = "_ = [explore(evaluator, full_passes=1000, seed=seed, progress=False) for seed in range(9)]"
# Takes down when a pointer moved or let go of a slider last, and when the readout answered.
WATCH = """() => {
  const times = (window.times = { predicted: [], measured: [] });
  let moved = 0, released = 0;
  document.addEventListener("input", (event) => { if (event.target.matches(".qa-slider")) moved = performance.now(); }, true);
  window.addEventListener("pointerup", (event) => { if (event.target.matches(".qa-slider")) released = performance.now(); }, true);
  new MutationObserver(() => {
    const text = document.querySelector(".qa-readout").textContent, now = performance.now();
    const total = [...document.querySelectorAll(".qa-slider")].reduce((sum, slider) => sum + Number(slider.value), 0);
    if (document.querySelector(".qa-bits").textContent !== String(total)) return; // of where the sliders were before
    if (moved && text.includes("let go to measure")) { times.predicted.push(now - moved); moved = 0; }
    if (released && text.includes("measured") && !text.includes("predicted")) { times.measured.push(now - released); released = 0; moved = 0; }
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


def drag(page, draw, dwell, pause):
    """Moves one slider to another width by mouse, step by step, and lets go; waits for the number."""
    sliders = page.query_selector_all(".qa-slider")
    slider = draw.choice(sliders)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    lowest, highest, now = (int(slider.get_attribute(name) or 0) for name in ("min", "max", "value"))
    now = int(slider.input_value())
    target = draw.choice([width for width in range(max(4, lowest), highest) if width != now])

    def height(position):
        # The thumb keeps within the track: half of it at either end.
        inside = box["height"] - 16
        return box["y"] + 8 + inside * (highest - position) / (highest - lowest)

    x, before = box["x"] + box["width"] / 2, page.evaluate("window.times.measured.length")
    page.mouse.move(x, height(now))
    page.mouse.down()
    for position in np.linspace(now, target, 1 + abs(target - now))[1:]:
        page.mouse.move(x, height(position), steps=3)
        page.wait_for_timeout(60)
    page.wait_for_timeout(dwell)
    page.mouse.up()
    if int(slider.input_value()) != now:
        page.wait_for_function(f"window.times.measured.length > {before}", timeout=60_000)
    page.wait_for_timeout(pause)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="8 releases on 512 images")
    parser.add_argument("--network", default="reference", help="one of networks.py (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, default=4096, help="size of the search set (default: %(default)s)"
    )
    parser.add_argument(
        "--releases", type=int, default=100, help="how often a slider is let go of (default: %(default)s)"
    )
    parser.add_argument("--beside-a-search", action="store_true", help="while a cell searches on all cores")
    parser.add_argument(
        "--dwell",
        type=float,
        default=100,
        metavar="MS",
        help="how long the hand rests before it lets go (default: %(default)s)",
    )
    parser.add_argument("--picture", type=Path, help="where a picture of the page is kept")
    options = parser.parse_args()
    images, releases = (512, 8) if options.quick else (options.images, options.releases)
    cells = [SETUP.format(benchmarks=str(ROOT / "benchmarks"), network=options.network, images=images), PANEL]
    cells += [SEARCH] * options.beside_a_search
    work(
        f"{options.network}, {images} images, {releases} releases{', beside a search' * options.beside_a_search}"
    )
    with panel_in_lab(cells, {"width": 1920, "height": 1200}) as page:
        page.wait_for_timeout(20_000 if options.beside_a_search else 2_000)  # what is measured beforehand
        page.evaluate(WATCH)
        draw = random.Random(0)
        for _ in range(releases):
            drag(page, draw, options.dwell, 300)
        found = page.evaluate("window.times")
        if options.picture is not None:
            page.screenshot(path=options.picture)
    for label, milliseconds in found.items():
        seconds = np.array(milliseconds) / 1e3
        print(
            f"  {label:9} median {np.median(seconds):.3f} s, 95th percentile {np.percentile(seconds, 95):.3f} s ({len(seconds)} times)"
        )


if __name__ == "__main__":
    main()
