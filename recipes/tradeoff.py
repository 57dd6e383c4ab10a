"""Compares inverters trained with different losses: distortion against perception.

    python recipes/tradeoff.py --output=tradeoff --data=folder:/images/val \\
        --inverters=HOG/mse=hog,HOG/perceptual=runs/perceptual/inverter

Writes the metrics (tradeoff.json, and as a table, tradeoff.md), a chart of error against LPIPS
(tradeoff.svg) and reconstructions (pictures.png).
"""

import pathlib

from absl import flags

from tfinvert import inverter
from tfinvert.commands import runtime
from tfinvert.commands.flags.deprecated import define_alias
from tfinvert.config.choices import MAX_IMAGES, SOURCE_FORMATS
from tfinvert.data.open_source import open_source
from tfinvert.errors import InputError
from tfinvert.runs.run_directory import parse_named_paths
from tfinvert.runs.tradeoff import InverterGroup, compare_losses

_INVERTERS = flags.DEFINE_list(
    "inverters",
    None,
    "Inverters, each as FEATURE/LOSS=INVERTER with a directory or shipped name as INVERTER.",
    required=True,
)
_DATA = flags.DEFINE_string("data", "photos", f"Photographs to evaluate on: {SOURCE_FORMATS}.")
_SHOWN = flags.DEFINE_string(
    "shown", "photos", f"Photographs of which some are shown: {SOURCE_FORMATS}."
)
_MAX_IMAGES = flags.DEFINE_integer(
    "max_images", MAX_IMAGES, "Maximum number of images, evenly subsampled.", lower_bound=2
)
define_alias("images", "max_images")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Output directory, which must not exist.", required=True
)


def main() -> None:
    """Compares the inverters and writes the results."""
    output = pathlib.Path(_OUTPUT.value)
    if output.exists():
        raise InputError(
            f"{output} exists already; give another --output. Received: --output={output}"
        )
    groups: dict[str, dict[str, inverter.Inverter]] = {}
    for name, path in parse_named_paths(_INVERTERS.value, _INVERTERS.name).items():
        feature, slash, loss = name.partition("/")
        if not (feature and slash and loss):
            raise InputError(f"--inverters takes FEATURE/LOSS=INVERTER. Received: {name}={path}")
        groups.setdefault(feature, {})[loss] = inverter.load(str(path))
    compared = [InverterGroup(feature, inverters) for feature, inverters in groups.items()]
    sources = [open_source(value) for value in (_DATA.value, _SHOWN.value)]
    compare_losses(compared, *sources, _MAX_IMAGES.value, output)
    print(output)


if __name__ == "__main__":
    runtime.run(main)
