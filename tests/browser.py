"""A real browser for the tests of pages: Chromium through Playwright, and a page that is watched."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENSHOTS = Path(__file__).parent.parent / "out" / "screenshots"
_COMMANDS = ("chromium", "chromium-browser", "google-chrome")
# What a page on disk may ask for: itself, and what it has made itself.
_LOCAL = ("file:", "data:", "blob:", "about:")


def find_chromium() -> str:
    """The program to start: the environment variable CHROMIUM, or what is on the path. Without one the test is
    skipped, or fails where the environment variable CI is set: there, nobody would notice that it never runs."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _COMMANDS)), None)
    if found is None:
        message = (
            f"needs a browser: install one of {', '.join(_COMMANDS)}, or set CHROMIUM to the path of one"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


# One for each module, not for the session: while it is open, this thread counts as running an event loop, and
# the tests that run notebooks start one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    program = find_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root, which is who runs in a container.
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Callable[..., "Page"]]:
    """Opens a file as a page. In the end it has to have stayed free of errors, and off the network."""
    complaints: list[str] = []
    contexts = []

    def complain_if_remote(url: str) -> None:
        if not url.startswith(_LOCAL):
            complaints.append(f"asked for {url}")

    def open_file(
        path: Path,
        *,
        color_scheme: str = "light",
        width: int = 1280,
        scripts: bool = True,
        complain: bool = True,
    ) -> "Page":
        context = browser.new_context(
            color_scheme=color_scheme,
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        if complain:
            page.on(
                "console",
                lambda message: message.type in ("error", "warning") and complaints.append(message.text),
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complain_if_remote(request.url))
        page.goto(path.resolve().as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert complaints == []
