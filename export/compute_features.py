"""Computes what a client sends to the endpoint `invert`, from image files.

    python export/compute_features.py --inverter=sift-64 --output=features.npy photo.jpg
    python export/compute_features.py --inverter=sift-64 --output=request.json a.jpg b.png

For features that a model server cannot compute, such as SIFT. A `.npy` file holds the features,
float32 `[images, …]`, for `tfinvert/serving/client.py` or a program of yours; a `.json` file is the
body of a REST request.
"""

import json
import pathlib

import numpy as np
from absl import flags

from tfinvert import inverter
from tfinvert.commands import runtime
from tfinvert.common.files import atomic_path
from tfinvert.errors import InputError
from tfinvert.serving.client_features import build_invert_request, compute_file_features

_INVERTER = flags.DEFINE_string(
    "inverter", None, "A saved inverter's directory, or the name of a shipped one.", required=True
)
_OUTPUT = flags.DEFINE_string("output", "features.npy", "The .npy or .json file to write.")


def main(files: list[str]) -> None:
    """From image files to one file."""
    if not files:
        raise InputError("give the image files after the flags")
    output = pathlib.Path(_OUTPUT.value)
    if output.suffix not in (".npy", ".json") or output.is_dir():
        raise InputError(f"--output must be a .npy or a .json file. Received: {output}")
    feature = inverter.load(_INVERTER.value).feature
    features = compute_file_features(feature, files)
    with atomic_path(output) as temporary:
        if output.suffix == ".npy":
            np.save(temporary, features)
        else:
            temporary.write_text(
                json.dumps(build_invert_request(features)) + "\n", encoding="utf-8"
            )
    print(f"{feature.name} of {len(files)} images, {list(features.shape)}: {output}")


if __name__ == "__main__":
    runtime.run(main, arguments=True)
