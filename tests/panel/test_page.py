"""The panel as a page of its own, without a notebook around it."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Error

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def address(tmp_path):
    """Where Voila shows the panel of a small network, whose files go into a folder of their own."""
    page = tmp_path / "panel.ipynb"
    text = (ROOT / "notebooks" / "page" / "panel.ipynb").read_text()
    text = text.replace('load_workload(\\"fashion_mnist\\")', 'load_workload(\\"fashion_mnist_convnet\\")')
    text = text.replace("from qa_lib.files import project_folder", "from pathlib import Path")
    page.write_text(text.replace('project_folder(\\"data\\")', f'Path(\\"{tmp_path}\\")'))
    shutil.copy(ROOT / "notebooks" / "page" / "voila.json", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "voila", str(page), "--no-browser", f"--port={port}"],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
        )  # fmt: skip
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        server.wait(20)


def test_the_page_in_voila_shows_the_panel_first(browser, address):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    for _ in range(60):
        try:
            page.goto(address)
            break
        except Error:  # the server begins
            page.wait_for_timeout(500)
    page.wait_for_selector(".qa-slider", timeout=90_000)
    assert page.locator(".qa-readout").bounding_box()["y"] < 80  # nothing before it
    page.wait_for_function(
        "document.querySelector('.js-plotly-plot')?._fullData?.some(trace => trace.meta === 'uniform' && trace.x?.length)"
    )
    page.locator(".qa-slider").nth(1).focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function(
        "document.querySelector('.qa-bits').innerText === '39' && document.querySelector('.qa-readout').innerText.includes('measured')"
    )
    assert (
        page.evaluate(
            "document.querySelector('.js-plotly-plot')._fullData.find(trace => trace.meta === 'now').x.length"
        )
        == 1
    )
    page.click("text=on the hold-out set")
    page.wait_for_function("document.querySelector('.qa-readout').innerText.includes('on the hold-out set')")
    page.close()
