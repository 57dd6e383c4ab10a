"""The studio in Chromium: from the drop of a photograph to its reconstruction on the page.

    python benchmarks/studio_speed.py

Of each inverter the median of some, after the first two. It takes playwright and Chromium, and the
extra `studio`.
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

_SIZE = flags.DEFINE_integer("size", 256, "Sides of the photograph, in pixels.", lower_bound=8)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Pictures of each inverter.", lower_bound=1)

# Milliseconds from a file's arrival in the page until a picture made of it can be painted.
_TIMED = """(name) => {
  window.tfinvertTimed = new Promise((resolve) => {
    const look = async () => {
      const caption = document.querySelector("#pictures figcaption span");
      if (caption?.textContent !== name) return;
      observer.disconnect();
      const images = [...document.querySelectorAll("#pictures img")];
      await Promise.all(images.map((image) => image.decode()));
      requestAnimationFrame(() => resolve(performance.now() - window.tfinvertBegin));
    };
    const observer = new MutationObserver(look);
    observer.observe(document.body, {childList: true, subtree: true, characterData: true});
  });
  document.addEventListener("change", (event) => {
    if (event.target.type === "file") window.tfinvertBegin = performance.now();
  }, {capture: true, once: true});
}"""


def main() -> None:
    """Prints a line for each inverter."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError(f"this needs playwright: pip install playwright ({error})") from error
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise InputError("this needs Chromium, as Debian's package chromium")
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
            took = [_drop(page, file) for file in files]
            later = took[1:]
            print(f"{name:26} {statistics.median(later):5.0f} ms, at most {max(later):5.0f} ms")
            page.close()


def _photographs(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
    """Different photographs, each in a file of its own name."""
    whole, side, files = load_photograph("astronaut"), _SIZE.value, []
    for i in range(count):
        files.append(folder / f"{i}.png")
        picture = Image.fromarray(whole[: 512 - i, : 512 - i])
        picture.resize((side, side)).save(files[-1])
    return files


def _drop(page, file: pathlib.Path) -> float:
    page.evaluate(_TIMED, file.name)
    page.locator("#photograph input[type=file]").set_input_files(file)
    return page.evaluate("() => window.tfinvertTimed")


if __name__ == "__main__":
    runtime.run(main)
