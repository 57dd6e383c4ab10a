"""Computes the features of image files, for requests to the endpoint `invert`.

    python export/compute_features.py --inverter=sift-64 --output=features.npy photo.jpg
    python export/compute_features.py --inverter=sift-64 --output=request.json a.jpg b.png

Meant for features that a model server cannot compute, such as SIFT. A `.npy` file contains the
features, float32 `[images, …]`, for `tfinvert/serving/client.py` or another client; a `.json` file
is the body of a REST request.
"""

import json
import pathlib

import numpy as np
from absl import flags

from tfinvert import inverter
from tfinvert.commands import runtime
from tfinvert.commands.flags.shared import INVERTER_HELP
from tfinvert.common.files import atomic_path
from tfinvert.errors import InputError
from tfinvert.serving.client_features import build_invert_request, compute_file_features

_INVERTER = flags.DEFINE_string("inverter", None, INVERTER_HELP, required=True)
_OUTPUT = flags.DEFINE_string("output", "features.npy", "Output file: .npy or .json.")


def main(files: list[str]) -> None:
    """Computes the features and writes them to a file."""
    if not files:
        raise InputError("no images; give image files after the flags. Received: none")
    output = pathlib.Path(_OUTPUT.value)
    if output.suffix not in (".npy", ".json") or output.is_dir():
        raise InputError(f"--output must be a .npy or .json file. Received: {output}")
    feature = inverter.load(_INVERTER.value).feature
    features = compute_file_features(feature, files)
    with atomic_path(output) as temporary:
        if output.suffix == ".npy":
            np.save(temporary, features)
        else:
            text = json.dumps(build_invert_request(features)) + "\n"
            temporary.write_text(text, encoding="utf-8")
    print(f"{feature.name} of {len(files)} images, {list(features.shape)}: {output}")


if __name__ == "__main__":
    runtime.run(main, arguments=True)
