"""Reconstructs many images and scores each, as an Apache Beam pipeline.

    python recipes/beam_reconstruct.py --model=hog --data=folder:photos --output=rebuilt \\
        -- --direct_running_mode=multi_processing --direct_num_workers=8

It writes `reconstructions/`, `errors.csv` (a row an image), `broken.csv` (images that cannot be
read) and `summary.json`. What follows `--` are Beam's own flags; without them the pipeline runs in
this process. Other machines and runners: docs/bulk.md.
"""

import time

from absl import flags

from tfinvert.commands import runtime
from tfinvert.commands.flags.shared import define_any_size_flag
from tfinvert.errors import InputError

_MODEL = flags.DEFINE_string(
    "model", None, "A saved inverter's directory, a shipped name or a SavedModel.", required=True
)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "Images: folder:PATH, files:GLOB or tfds:NAME[/CONFIG] (its split train).",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "The directory to write into.", required=True)
_SCALE = flags.DEFINE_float(
    "scale", None, "N, the mean distance of two images; else measured on at most 2 000 of them."
)
define_any_size_flag()


def main(beam_flags: list[str]) -> None:
    """From flags to a directory."""
    try:
        from tfinvert.bulk.reconstructions import reconstruct
    except ModuleNotFoundError as error:
        raise InputError(f"{error}; install the extra: pip install 'tfinvert[beam]'") from error
    begin = time.perf_counter()
    summary = reconstruct(
        _MODEL.value, _DATA.value, _OUTPUT.value, _SCALE.value, beam_flags, flags.FLAGS.image_size
    )
    seconds = time.perf_counter() - begin
    for name, value in summary.items():
        print(f"{name:24s} {value:.4f}" if isinstance(value, float) else f"{name:24s} {value}")
    print(f"{summary['images'] / seconds:.0f} images/s, the start included: {_OUTPUT.value}")


if __name__ == "__main__":
    runtime.run(main, arguments=True)
