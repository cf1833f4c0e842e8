"""Makes README's moving picture, figures/panel.gif: the panel in a real JupyterLab, one slider dragged and let go of.

    .venv/bin/python docs/moving_panel.py            # needs Chromium on the path, or CHROMIUM

Frames are shown as long as they stood; only what was waited for between two drags is left out. The hand is drawn in, for a browser
without a screen shows none.
"""

import argparse
import io
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from playwright.sync_api import Page

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from lab_server import panel_in_lab  # noqa: E402

CELL = """\
from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, explore, load_workload
from qa_lib.panel import BitWidthPanel
workload = load_workload("fashion_mnist")
qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
_ = calibrate(qmodel, workload.calibration_loader())
evaluator = Evaluator(qmodel, workload.search_images, workload.search_labels)
exploration = explore(evaluator, min_accuracy=0.85, full_passes=60, progress=False)
panel = BitWidthPanel(evaluator, exploration=exploration)
_ = panel.set_bit_widths(exploration.front_evaluations[len(exploration.front) // 2].bit_widths)
panel"""
# Layer and where its slider is dragged to: one that hardly minds, and one that does.
DRAGS = [("blocks.4.conv1", 3), ("stem.0", 3)]
WINDOW = {"width": 1400, "height": 1500}
WIDTH = 820  # of the picture
LONGEST_STAND = 1.2  # seconds that one frame stands at most
ARROW = [(0, 0), (0, 17), (4, 13), (7, 19), (10, 18), (7, 12), (12, 12)]


class Film:
    """Frames of a part of a page, each with the time it was taken at."""

    def __init__(self, page: Page, clip: dict[str, float]) -> None:
        self.page, self.clip = page, clip
        self.frames: list[Image.Image] = []
        self.times: list[float] = []
        self.hand = (clip["x"] + clip["width"] / 2, clip["y"] + clip["height"] / 2)

    def move(self, x: float, y: float) -> None:
        self.page.mouse.move(x, y)
        self.hand = (x, y)
        self.take()

    def take(self) -> None:
        frame = Image.open(io.BytesIO(self.page.screenshot(clip=self.clip))).convert("RGB")
        x, y = self.hand[0] - self.clip["x"], self.hand[1] - self.clip["y"]
        ImageDraw.Draw(frame).polygon([(x + a, y + b) for a, b in ARROW], fill="black", outline="white")
        self.frames.append(frame)
        self.times.append(time.monotonic())

    def watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.take()

    def save(self, path: Path) -> None:
        size = (WIDTH, round(WIDTH * self.clip["height"] / self.clip["width"]))
        small = [frame.resize(size, Image.Resampling.LANCZOS) for frame in self.frames]
        stood = [*np.diff(self.times).clip(0.02, LONGEST_STAND), LONGEST_STAND]
        # One palette for all, so that what stands still costs nothing.
        strip = Image.new("RGB", (WIDTH, 3 * size[1]))
        for index, frame in enumerate((small[0], small[len(small) // 2], small[-1])):
            strip.paste(frame, (0, index * size[1]))
        palette = strip.quantize(128, dither=Image.Dither.NONE)
        first, *others = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
        durations = [round(1000 * seconds) for seconds in stood]
        first.save(
            path, save_all=True, append_images=others, duration=durations, loop=0, optimize=False
        )  # frames that are alike become one


def drag(film: Film, layer: str, target: int) -> None:
    """Takes hold of the slider of ``layer``, moves it step by step to ``target``, lets go and waits for the number."""
    page = film.page
    slider = page.locator(f'.qa-column[data-name="{layer}"] .qa-slider')
    box = slider.bounding_box()
    assert box is not None
    lowest, highest = (int(slider.get_attribute(name) or 0) for name in ("min", "max"))
    now = int(slider.input_value())

    def height(position: float) -> float:
        # The thumb keeps within the track: half of it at either end.
        return box["y"] + 8 + (box["height"] - 16) * (highest - position) / (highest - lowest)

    x = box["x"] + box["width"] / 2
    (from_x, from_y), to_y = film.hand, height(now)
    for share in np.linspace(0, 1, 6)[1:]:
        film.move(from_x + share * (x - from_x), from_y + share * (to_y - from_y))
    page.mouse.down()
    for position in np.linspace(now, target, 1 + 2 * abs(target - now))[1:]:
        film.move(x, height(position))
        film.watch(0.15)
    film.watch(0.8)
    page.mouse.up()
    until = time.monotonic() + 10
    while "predicted" in page.inner_text(".qa-readout") and time.monotonic() < until:
        film.take()
    film.watch(1.5)


def main() -> None:
    """Starts JupyterLab, drags, and writes the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--to", type=Path, default=ROOT / "figures" / "panel.gif", help="where it is written")
    path = parser.parse_args().to
    with panel_in_lab([CELL], WINDOW) as page:
        page.wait_for_timeout(8_000)  # what is measured beforehand
        output = page.locator(".jp-OutputArea-output:has(.qa-slider)").first
        output.evaluate("(panel) => panel.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(1_000)
        box = output.bounding_box()
        assert box is not None
        clip = box | {"height": min(box["height"], WINDOW["height"] - box["y"])}
        film = Film(page, dict(clip))
        film.watch(0.6)
        for layer, target in DRAGS:
            drag(film, layer, target)
    film.save(path)
    print(f"{path}: {len(film.frames)} frames, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
