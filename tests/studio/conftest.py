"""The studio as people have it: a process that serves the page, and Chromium that looks at it."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROGRAM = """
import sys, threading
from tfinvert.studio.app import served
with served(file_seconds=6) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """(address, folder for temporary files) of a page; its standard error is empty in the end."""
    pytest.importorskip("gradio", reason="the extra studio is not installed")
    folder = tmp_path_factory.mktemp("studio")
    with (folder / "stderr").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
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
        pytest.skip("there is no Chromium")
    with api.sync_playwright() as playwright:
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *camera])
        # One context, so that the page's scripts are read once.
        yield chromium.new_context(viewport={"width": 1280, "height": 900})
        chromium.close()


@pytest.fixture
def visit(studio, browser):
    """Opens the page, or what a link shows of it, as another person each time.

    In the end nothing has been asked of another machine, and the browser had nothing to complain.
    """
    url, _ = studio
    pages, wrong = [], []

    def open_page(query=""):
        page = browser.new_page()
        pages.append(page)
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("response", lambda given: wrong.append(given.url) if given.status >= 400 else None)
        page.on("request", lambda asked: _check(asked.url, url, wrong))
        page.goto(url + query)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not wrong


def _check(asked, url, wrong):
    if not asked.startswith((url, "data:", "blob:")):
        wrong.append(asked)
