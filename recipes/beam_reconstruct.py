"""Reconstructs and scores many images, as an Apache Beam pipeline.

    python recipes/beam_reconstruct.py --model=hog --data=folder:photos --output=rebuilt \\
        -- --direct_running_mode=multi_processing --direct_num_workers=8

Writes `reconstructions/`, `errors.csv` (one row per image), `broken.csv` (unreadable images) and
`summary.json`. Flags after `--` are those of Beam; without them the pipeline runs in this process.
docs/bulk.md describes other runners and clusters.
"""

import time

from absl import flags

from tfinvert.commands import runtime
from tfinvert.commands.flags.shared import define_any_size_flag
from tfinvert.errors import InputError

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Inverter or SavedModel: a directory or the name of a shipped inverter.",
    required=True,
)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Images: folder:PATH, files:GLOB or tfds:NAME[/CONFIG] (its split train).",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "Output directory.", required=True)
_SCALE = flags.DEFINE_float(
    "scale",
    None,
    "Mean pairwise distance of the images, by which errors are divided; the default is measured on "
    "up to 2 000 of them.",
)
define_any_size_flag()


def main(beam_flags: list[str]) -> None:
    """Runs the pipeline and prints its summary."""
    try:
        from tfinvert.bulk.reconstructions import reconstruct
    except ModuleNotFoundError as error:
        raise InputError(
            f"Apache Beam is missing; install it with pip install 'tfinvert[beam]'. "
            f"Received: {error}"
        ) from error
    begin = time.perf_counter()
    summary = reconstruct(
        _MODEL.value, _DATA.value, _OUTPUT.value, _SCALE.value, beam_flags, flags.FLAGS.image_size
    )
    seconds = time.perf_counter() - begin
    for name, value in summary.items():
        print(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")
    print(f"{summary['images'] / seconds:.0f} images/s, start-up included: {_OUTPUT.value}")


if __name__ == "__main__":
    runtime.run(main, arguments=True)
