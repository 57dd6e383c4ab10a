"""Writes an inverter as a SavedModel for TensorFlow Serving."""

import os
import pathlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfinvert.common.backend import default_settings
from tfinvert.common.files import atomic_directory, user_path_in_utf8
from tfinvert.config.registry import ENDPOINTS
from tfinvert.errors import InputError
from tfinvert.features.stored import StoredFeature
from tfinvert.inverter import Inverter
from tfinvert.serving.check import check_savedmodel
from tfinvert.serving.endpoints import Endpoint, make_endpoints
from tfinvert.serving.warmup import write_warmup_requests


@default_settings
def export_savedmodel(
    inverter: Inverter,
    path: str | os.PathLike[str],
    *,
    version: int = 1,
    endpoints: Sequence[str] = tuple(ENDPOINTS),
    sample: np.ndarray | None = None,
) -> pathlib.Path:
    """Writes `path/version/` atomically, checks it and adds warm-up requests.

    If "serving_default" is not among the endpoints, the first one gets that name in addition.

    Args:
      inverter: the inverter to export.
      path: the model's directory, whose name is the model's name; it may hold other versions.
      version: a whole number of at least 0; a server offers the largest by default.
      endpoints: any of "serving_default", "reconstruct_bytes" and "invert".
      sample: image for the warm-up requests, `feature.image_shape` in [0, 1]; noise by default.

    Returns:
      The directory of this version.

    Raises:
      InputError: the version already exists or cannot be written there, an argument is wrong, or
        the inverter cannot be served.
    """
    path = user_path_in_utf8(path)
    if version < 0:
        raise InputError(f"version must be a whole number of at least 0. Received: {version}")
    final = path / str(version)
    if final.exists():
        raise InputError(f"{final} already exists; choose another version or another directory")
    endpoints = make_endpoints(inverter, endpoints)
    sample = _check_sample(inverter, sample)
    # On failure a model directory that was created here is removed along with its version.
    created = final if path.exists() else path
    try:
        with atomic_directory(created) as directory:
            model = directory if created is final else directory / final.name
            _write(inverter, endpoints, model)
            check_savedmodel(model)
            write_warmup_requests(model, _warmup_requests(inverter, endpoints, sample))
    except OSError as error:
        raise InputError(f"cannot write {final}: {error.strerror or error}") from error
    return final


def _write(inverter: Inverter, endpoints: Sequence[Endpoint], model: pathlib.Path) -> None:
    archive = keras.export.ExportArchive()
    archive.track(inverter.network)
    if inverter.uncertainty_head:
        archive.track(inverter.uncertainty_head.head)
    if inverter.feature.model is not None:
        archive.track(inverter.feature.model)
    for endpoint in endpoints:
        archive.add_endpoint(endpoint.name, endpoint.function, [endpoint.input])
    archive.write_out(str(model), verbose=False)


def _check_sample(inverter: Inverter, sample: np.ndarray | None) -> np.ndarray:
    shape = inverter.feature.image_shape
    if sample is None:
        return np.random.default_rng(0).random(shape, np.float32)
    sample = np.asarray(sample)
    if sample.shape != shape or sample.dtype.kind != "f":
        raise InputError(
            f"sample must be one floating point image of shape {shape}. Received: {sample.dtype} "
            f"{sample.shape}"
        )
    return sample.astype(np.float32)


def _warmup_requests(
    inverter: Inverter, endpoints: Sequence[Endpoint], sample: np.ndarray
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields endpoint, name of its input and value for each kind of request."""
    pixels = np.rint(np.clip(sample, 0, 1) * 255).astype(np.uint8)
    makers = {
        "images": [lambda: sample],
        "image_bytes": [
            lambda: tf.io.encode_jpeg(pixels).numpy(),
            lambda: tf.io.encode_png(pixels).numpy(),
        ],
        "features": [lambda: _sample_features(inverter, sample)],
    }
    for endpoint in endpoints:
        for make in makers[endpoint.input.name]:
            yield endpoint.name, endpoint.input.name, np.array([make()])


def _sample_features(inverter: Inverter, sample: np.ndarray) -> np.ndarray:
    """The features of the sample; the mean feature if they cannot be computed."""
    feature = inverter.feature
    if isinstance(feature, StoredFeature):
        return np.broadcast_to(inverter.standardization.mean, feature.spec.shape)
    return feature(sample[np.newaxis]).numpy()[0]
