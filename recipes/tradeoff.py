"""Distortion against perception: inverters fitted by different losses, in one figure.

    python recipes/tradeoff.py --output=tradeoff --data=folder:/images/val \\
        --inverters=HOG/squared=hog,HOG/perceptual=runs/perceptual/inverter

writes the metrics (tradeoff.json, and as a table, tradeoff.md), error against LPIPS (tradeoff.svg)
and reconstructions (pictures.png).
"""

import pathlib

from absl import flags

from tfinvert import inverter
from tfinvert.commands import runtime
from tfinvert.config.choices import MAX_IMAGES, SOURCE_FORMATS
from tfinvert.data.open_source import open_source
from tfinvert.errors import InputError
from tfinvert.runs.run_directory import parse_named_paths
from tfinvert.runs.tradeoff import InverterGroup, compare_losses

_INVERTERS = flags.DEFINE_list(
    "inverters",
    None,
    "Inverters, each as FEATURE/LOSS=INVERTER, where INVERTER is a directory or a shipped name.",
    required=True,
)
_DATA = flags.DEFINE_string("data", "photos", f"Photographs to measure on: {SOURCE_FORMATS}.")
_SHOWN = flags.DEFINE_string("shown", "photos", "Photographs to show some of, likewise.")
_IMAGES = flags.DEFINE_integer("images", MAX_IMAGES, "Measure on at most so many, evenly spaced.")
_OUTPUT = flags.DEFINE_string("output", None, "A directory that is not there yet.", required=True)


def main() -> None:
    """From inverters to files."""
    output = pathlib.Path(_OUTPUT.value)
    if output.exists():
        raise InputError(f"{output} exists already; give another --output")
    if _IMAGES.value < 2:
        raise InputError(f"--images must be at least 2. Received: {_IMAGES.value}")
    groups: dict[str, dict[str, inverter.Inverter]] = {}
    for name, place in parse_named_paths(_INVERTERS.value, _INVERTERS.name).items():
        feature, slash, loss = name.partition("/")
        if not (feature and slash and loss):
            raise InputError(f"--inverters takes FEATURE/LOSS=INVERTER. Received: {name}={place}")
        groups.setdefault(feature, {})[loss] = inverter.load(str(place))
    compared = [InverterGroup(feature, inverters) for feature, inverters in groups.items()]
    sources = [open_source(value) for value in (_DATA.value, _SHOWN.value)]
    compare_losses(compared, *sources, _IMAGES.value, output)
    print(output)


if __name__ == "__main__":
    runtime.run(main)
