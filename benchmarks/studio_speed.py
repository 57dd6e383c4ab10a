"""Benchmarks the studio in Chromium: time from uploading a photograph to its reconstruction.

    python benchmarks/studio_speed.py

Prints the median and maximum for each inverter, without the first two pictures. Requires
playwright, Chromium and the extra `studio`.
"""

import pathlib
import shutil
import statistics
import tempfile

from absl import flags
from PIL import Image

from tfinvert.commands import runtime
from tfinvert.data.photos import load_photograph
from tfinvert.errors import InputError
from tfinvert.studio.app import serve
from tfinvert.zoo.registry import shipped

_SIZE = flags.DEFINE_integer("size", 256, "Side of the photograph, in pixels.", lower_bound=8)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed pictures per inverter.", lower_bound=1)

# Milliseconds from the selection of a file until the pictures computed from it can be painted.
_START_TIMER = """(name) => {
  window.tfinvertElapsed = new Promise((resolve) => {
    const check = async () => {
      const caption = document.querySelector("#pictures figcaption span");
      if (caption?.textContent !== name) return;
      observer.disconnect();
      const images = [...document.querySelectorAll("#pictures img")];
      await Promise.all(images.map((image) => image.decode()));
      requestAnimationFrame(() => resolve(performance.now() - window.tfinvertStart));
    };
    const observer = new MutationObserver(check);
    observer.observe(document.body, {childList: true, subtree: true, characterData: true});
  });
  document.addEventListener("change", (event) => {
    if (event.target.type === "file") window.tfinvertStart = performance.now();
  }, {capture: true, once: true});
}"""


def main() -> None:
    """Prints one line per inverter."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError(f"this needs playwright ({error}); pip install playwright") from error
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise InputError("this needs Chromium; install Debian's package chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        serve() as url,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        files = _photographs(pathlib.Path(folder), _REPEATS.value + 1)
        for name in shipped():
            page = browser.new_page()
            page.goto(f"{url}?inverter={name}")
            page.locator("#pictures img").first.wait_for(timeout=60_000)
            times = [_time_upload(page, file) for file in files][1:]
            print(f"{name:26} {statistics.median(times):5.0f} ms, at most {max(times):5.0f} ms")
            page.close()


def _photographs(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Writes different photographs to files 0.png, 1.png, …"""
    astronaut, side, files = load_photograph("astronaut"), _SIZE.value, []
    for i in range(count):
        files.append(folder / f"{i}.png")
        picture = Image.fromarray(astronaut[: 512 - i, : 512 - i])
        picture.resize((side, side)).save(files[-1])
    return files


def _time_upload(page, file: pathlib.Path) -> float:
    page.evaluate(_START_TIMER, file.name)
    page.locator("#photograph input[type=file]").set_input_files(file)
    return page.evaluate("() => window.tfinvertElapsed")


if __name__ == "__main__":
    runtime.run(main)
