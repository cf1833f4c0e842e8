"""The panel in a real JupyterLab: moved while a cell searches, clicked, and compared with independent measurements."""

import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import SCREENSHOTS
from playwright.sync_api import TimeoutError

from qa_lib import Evaluator, QuantizedActivationsModel, calibrate, load_workload

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOTEBOOK = "04_pareto_front.ipynb"
# The second time a small one does.
NETWORKS = {"as shipped": "fashion_mnist", "disabled": "fashion_mnist_convnet"}


@pytest.fixture(scope="module", params=["as shipped", "disabled"])
def threads(request):
    """How JupyterLab hands over what a hand does: on a thread of its own, or after the cell that runs."""
    return request.param


@pytest.fixture(scope="module")
def lab(tmp_path_factory, threads):
    """A JupyterLab with a copy of the notebook, whose files go beside the copy; its address."""
    sys.path.append(str(ROOT / "benchmarks"))
    from lab_server import lab_server

    folder = tmp_path_factory.mktemp("lab")
    settings = (ROOT / "notebooks" / "qa_lib.json").read_text()
    if threads == "disabled":
        settings = settings.replace("perCommTarget", "disabled")
    # All cells stay in the page, for the test to look at those out of sight.
    settings = json.loads(settings) | {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}
    for name in ("settings/overrides.d", "notebooks", "data", "figures"):
        (folder / name).mkdir(parents=True)
    (folder / "settings" / "overrides.d" / "qa_lib.json").write_text(json.dumps(settings))
    text = (ROOT / "notebooks" / NOTEBOOK).read_text()  # which nbval runs as it is
    # The second search is stopped by hand.
    for all_of_it, less in (
        ("full_passes=60", "full_passes=20"),
        ("full_passes=70", "full_passes=200"),
        (
            "workload.holdout_images, workload.holdout_labels",
            "workload.holdout_images[:1024], workload.holdout_labels[:1024]",
        ),
    ):
        assert all_of_it in text
        text = text.replace(all_of_it, less)
    assert "from qa_lib.files import project_folder" in text
    text = text.replace("from qa_lib.files import project_folder", "from pathlib import Path")
    text = re.sub(r'project_folder\(\\"(\w+)\\"\)', r'Path(\\"../\1\\")', text)  # beside the copy
    text = text.replace('load_workload(\\"fashion_mnist\\")', f'load_workload(\\"{NETWORKS[threads]}\\")')
    text = text.replace("chosen.total_bits < 17 * 6", "chosen")
    (folder / "notebooks" / NOTEBOOK).write_text(text)
    with lab_server(folder) as address:
        yield address


def stop_the_cell(lab):
    """As the notebook's stop button does; ``explore`` ends with what it has."""
    (session,) = json.load(urllib.request.urlopen(f"{lab}/api/sessions?token=t"))
    kernel = session["kernel"]["id"]
    urllib.request.urlopen(
        urllib.request.Request(f"{lab}/api/kernels/{kernel}/interrupt?token=t", method="POST")
    ).close()


def measured_independently(network, widths):
    workload = load_workload(network)
    qmodel = QuantizedActivationsModel(workload.model, workload.predicate)
    calibrate(qmodel, workload.calibration_loader())
    return Evaluator(qmodel, workload.search_images, workload.search_labels).evaluate(widths).score


def readout(page):
    return page.inner_text(".qa-readout")


def wait_for(page, condition, seconds=60):
    try:
        page.wait_for_function(condition, timeout=1000 * seconds)
    except TimeoutError:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "panel_waited_in_vain.png")
        raise


# Where the cheapest point of the front is, in pixels of the window.
FIRST_OF_FRONT = """() => {
  const plot = document.querySelector(".js-plotly-plot"), box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;
  const front = plot._fullData.find((trace) => trace.meta === "front");
  return [box.x + xaxis._offset + xaxis.d2p(front.x[0]), box.y + yaxis._offset + yaxis.d2p(front.y[0])];
}"""
# How many points each part of the figure has.
POINTS = "Object.fromEntries(document.querySelector('.js-plotly-plot')._fullData.map((trace) => [trace.meta, trace.x?.length ?? 0]))"
MEASURED = "document.querySelector('.qa-readout').innerText.includes('measured')"
# What the cell that runs now has for its source; the queued ones behind it have a star, too.
RUNNING = "[...document.querySelectorAll('.jp-CodeCell')].find(cell => cell.innerText.includes('[*]'))?.innerText ?? ''"


def problems_for_some(page):
    """What axe finds of WCAG 2.2 AA in the panel, whichever of its pages is open."""
    page.evaluate("document.querySelector('.qa-readout').closest('.widget-vbox').id = 'panel'")
    found = set()
    some = ("search", "settings", "keep", "next")
    for tab in some if os.environ.get("BRIEF") else (*some[:-1], "widths", "A and B", "layer", "next"):
        page.click(f".lm-TabBar-tabLabel:text-is('{tab}')")
        page.wait_for_timeout(400)
        answer = Axe().run(
            page,
            context="#panel",
            options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]},
        )
        found |= {
            (tab, each["id"], str(node["html"]))
            for each in answer.response["violations"]
            for node in each["nodes"]
        }
    return sorted(found)


def shows(bits):
    return f"document.querySelector('.qa-bits').innerText === '{bits}' && {MEASURED}"


def positions(page):
    return [int(slider.input_value()) for slider in page.query_selector_all(".qa-slider")]


def test_the_notebook_in_jupyterlab(browser, lab, threads):
    page = browser.new_page(viewport={"width": 1280, "height": 1200})
    complaints = []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    from lab_server import run_all_cells

    run_all_cells(page, f"{lab}/lab/workspaces/w/tree/notebooks/{NOTEBOOK}?token=t&reset")
    wait_for(page, f"({RUNNING}).includes('further = explore(')", 600)

    # Moved twice while that cell searches; the keyboard moves the focused slider.
    before = positions(page)
    layers = {"as shipped": 17, "disabled": 5}[threads]
    assert len(before) == layers
    wait_for(
        page,
        f"document.querySelectorAll('.qa-mark').length >= {layers} * 7 && !document.querySelector('.qa-legend').hidden",
    )
    moved = [index for index, num_bits in enumerate(before) if num_bits < 8][:2]
    expected = [num_bits + (index in moved) for index, num_bits in enumerate(before)]
    seconds = []
    for steps, index in enumerate(moved, 1):
        begun = time.monotonic()
        page.query_selector_all(".qa-slider")[index].focus()
        page.keyboard.press("ArrowUp")
        if threads == "as shipped":
            wait_for(page, shows(sum(before) + steps), 20)
        seconds.append(time.monotonic() - begun)
    searching = page.evaluate(f"({RUNNING}).includes('further = explore(')")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "panel_while_searching.png")
    assert searching, "the search was over before the sliders were moved"
    stop_the_cell(lab)
    if threads == "as shipped":
        print(f"from key to measured number while a search runs: {[round(s, 2) for s in seconds]} s")

    # The number shown equals an independent evaluation of the widths shown.
    wait_for(page, f"({RUNNING}) === ''", 300)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    figures = page.locator(".jp-RenderedImage img")
    assert figures.count() == 6 and "<Figure size" not in page.inner_text(".jp-Notebook")
    wait_for(page, shows(sum(expected)), 20)
    assert positions(page) == expected
    # An image of 4,096 is more than the last digit that is shown.
    assert f"{measured_independently(NETWORKS[threads], expected):.2%}" in readout(page)

    # A point is clicked, and the sliders follow.
    before = readout(page)
    page.evaluate("document.querySelector('.qa-equalizer').scrollIntoView()")
    page.wait_for_timeout(500)
    page.click(".widget-button:text-is('knee')")
    wait_for(
        page, f"document.querySelector('.qa-readout').innerText !== {json.dumps(before)} && {MEASURED}", 20
    )
    assert "on the front" in readout(page)
    page.evaluate("document.querySelector('.js-plotly-plot').scrollIntoView({block: 'center'})")
    page.mouse.move(*page.evaluate(FIRST_OF_FRONT))
    page.wait_for_selector(".hoverlayer .hovertext")
    modes = dict(
        page.evaluate(
            "document.querySelector('.js-plotly-plot')._fullData.filter((trace) => trace.mode).map((trace) => [trace.meta, trace.mode])"
        )
    )
    assert (
        modes["expected"] == "lines"
        and {*modes.values()} == {"lines", "markers", "markers+text"}
        and "dominated" in modes
    )
    lines = page.locator(".hoverlayer .hovertext tspan.line").all_text_contents()
    page.mouse.down()
    page.mouse.up()
    assert lines[0] == "#1" and lines[2].startswith("expected ") and lines[2].endswith("% (estimate)")
    accuracy, bits = lines[1].split(",")[0], lines[3].split()[0]
    wait_for(page, shows(bits), 20)
    assert accuracy in readout(page)
    assert lines[4].split() == list(map(str, positions(page)))
    assert re.search(r"expected \d+\.\d\d%.*drop -?\d+\.\d\d ± \d+\.\d\d points", readout(page), re.DOTALL)
    page.evaluate("document.querySelector('.qa-equalizer').scrollIntoView()")
    assert page.evaluate("document.body.scrollWidth <= innerWidth")
    page.screenshot(path=SCREENSHOTS / "panel.png")

    if threads == "as shipped":
        assert problems_for_some(page) == []

    # The figure can be kept as a picture, and sent nowhere.
    buttons = page.locator(".modebar-btn").evaluate_all("all => all.map(button => button.dataset.title)")
    assert any("PNG" in title for title in buttons) and not any("hare" in title for title in buttons)

    # Another page shows what this one does.
    before, points = readout(page), page.evaluate(POINTS)
    assert sum(points.values()) > 10
    page.keyboard.press("Control+S")
    page.wait_for_timeout(1000)
    page.reload()
    page.wait_for_selector(".qa-slider", timeout=60_000)
    wait_for(page, f"document.querySelector('.js-plotly-plot') && {MEASURED}", 60)
    wait_for(
        page, f"JSON.stringify({POINTS}) === {json.dumps(json.dumps(points, separators=(',', ':')))}", 20
    )
    page.evaluate("document.querySelector('.qa-equalizer').scrollIntoView()")
    page.wait_for_timeout(500)
    page.screenshot(path=SCREENSHOTS / "panel_reloaded.png")
    assert readout(page) == before
    assert complaints == []
    assert page.locator(".qa-picture").is_hidden()
    if threads == "as shipped":
        # Opened without its kernel, a picture stands where the sliders stood, and no complaint.
        (session,) = json.load(urllib.request.urlopen(f"{lab}/api/sessions?token=t"))
        end = urllib.request.Request(f"{lab}/api/sessions/{session['id']}?token=t", method="DELETE")
        urllib.request.urlopen(end).close()
        page.reload()
        wait_for(page, "document.querySelector('.qa-picture')?.checkVisibility()", 60)
        assert page.locator(".qa-slider").count() == 0
        assert page.locator("text=Error displaying widget").is_hidden()
    page.close()
