"""A JupyterLab of its own, for a browser to look at."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
