"""A JupyterLab of its own, and a browser that looks at it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent


@contextmanager
def lab_server(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab in ``folder``, whose default settings are in ``settings/overrides.d`` there; its token is "t". Its kernels
    read this library; they end with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "share"),
    }
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token=t",
             f"--LabApp.app_settings_dir={folder / 'settings'}"],
            cwd=folder, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token=t").close()
                break
            except OSError:
                time.sleep(0.5)
        try:
            yield address
        finally:
            for session in json.load(urllib.request.urlopen(f"{address}/api/sessions?token=t")):
                url = f"{address}/api/sessions/{session['id']}?token=t"
                urllib.request.urlopen(urllib.request.Request(url, method="DELETE")).close()
            server.terminate()
            server.wait(20)


def run_all_cells(page: Page, address: str) -> None:
    """Opens the notebook at ``address``, without the file browser beside it, and lets all its cells run; returns at once."""
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    page.wait_for_selector("text=Python 3", timeout=60_000)
    page.keyboard.press("Control+B")
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells")


@contextmanager
def panel_in_lab(cells: list[str], viewport: Any) -> Iterator[Page]:
    """A page of JupyterLab, in headless Chromium (on the path, or CHROMIUM), with a notebook of these cells, once its panel has measured."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("needs Chromium: install it, or set CHROMIUM to its path")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, folder / "panel.ipynb")
        settings = folder / "settings" / "overrides.d"
        settings.mkdir(parents=True)
        shutil.copy(ROOT / "notebooks" / "qa_lib.json", settings)
        with lab_server(folder) as address:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            page = browser.new_page(viewport=viewport)
            run_all_cells(page, f"{address}/lab/workspaces/w/tree/panel.ipynb?token=t&reset")
            page.wait_for_selector(".qa-slider", timeout=600_000)
            page.wait_for_function(
                "document.querySelector('.qa-readout').innerText.includes('measured')", timeout=600_000
            )
            yield page
            browser.close()
