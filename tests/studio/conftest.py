"""Fixtures that serve the page and open it in Chromium."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import sys, threading
from tfinvert.studio.app import serve
with serve(file_seconds=6) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """(address, folder for temporary files) of a process that serves the page.

    At the end, the process must have written no traceback and left no temporary files.
    """
    pytest.importorskip("gradio", reason="the extra studio is not installed")
    folder = tmp_path_factory.mktemp("studio")
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        url = process.stdout.readline().strip()
        assert url, (folder / "stderr").read_text()
        yield url, folder
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in (folder / "stderr").read_text()
    assert not list(folder.glob("tfinvert-studio-*"))


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        # A shared context, so that the page's scripts are loaded once.
        yield chromium.new_context(viewport={"width": 1280, "height": 900})
        chromium.close()


@contextlib.contextmanager
def visitor(url, browser):
    """Yields a function that opens the page at a query string, in a new session each time.

    At the end, no request must have gone to another server, and the browser must have reported no
    error.
    """
    pages, errors = [], []

    def check_request(request):
        if not request.url.startswith((url, "data:", "blob:")):
            errors.append(request.url)

    def visit(query=""):
        page = browser.new_page()
        pages.append(page)
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("response", lambda reply: errors.append(reply.url) if reply.status >= 400 else None)
        page.on("request", check_request)
        page.goto(url + query)
        return page

    yield visit
    for page in pages:
        page.close()
    assert not errors


@pytest.fixture
def visit(studio, browser):
    """`visitor` of the page that the process `studio` serves."""
    with visitor(studio[0], browser) as visit:
        yield visit
