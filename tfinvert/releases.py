"""The inverters that come with the package, and their versions: `inverters/versions.json`.

Weights that change get a new version, so that a paper can say which it used: "hog@2".
"""

import functools
import json
import pathlib
from typing import Any

from tfinvert.errors import InputError
from tfinvert.version import __version__

FOLDER = pathlib.Path(__file__).parent / "inverters"


@functools.cache
def versions() -> dict[str, list[dict[str, Any]]]:
    """Of each inverter all that ever shipped, the one that does now last."""
    return json.loads((FOLDER / "versions.json").read_text(encoding="utf-8"))


def shipped() -> list[str]:
    """Names of the inverters that come with the package, for `load`."""
    return sorted(versions())


def locate(name: str) -> tuple[pathlib.Path, str] | None:
    """The directory of an inverter that ships, and its name with the version; None for others.

    Args:
      name: for example "hog" or "hog@2".

    Raises:
      InputError: it ships, but not in that version.
    """
    bare, _, asked = name.partition("@")
    own = versions().get(bare)
    if own is None:
        return None
    current = f"{bare}@{own[-1]['version']}"
    if name in (bare, current):
        return FOLDER / bare, current
    releases = {f"{bare}@{each['version']}": each["release"] for each in own}
    known = f"came with tfinvert {releases[name]}" if name in releases else "never shipped"
    raise InputError(f"tfinvert {__version__} ships {current}. Received: {name}, which {known}")
