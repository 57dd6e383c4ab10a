"""Client-side computation of features that a model server cannot compute, from image files."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfinvert.data.decode import read_rgb
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.features.base import Feature


def compute_file_features(feature: Feature, files: Sequence[str | pathlib.Path]) -> np.ndarray:
    """Computes the features of the largest central crop of each image, as the recipes do.

    Args:
      feature: the feature of the exported inverter.
      files: JPEG or PNG files.

    Returns:
      float32 `[len(files), *feature.spec.shape]`, the input `features` of the endpoint `invert`.

    Raises:
      InputError: a file is missing, or is not a complete image.
    """
    size = feature.image_shape[:2]
    images = np.stack([center_crop_and_resize(read_rgb(file), size) for file in files])
    return np.asarray(feature(images), np.float32)


def build_invert_request(features: np.ndarray) -> dict[str, Any]:
    """Returns the body of a REST request to the endpoint `invert`, as JSON values."""
    return {"signature_name": "invert", "instances": features.tolist()}
