"""The endpoints of an exported inverter: functions of TensorFlow ops with one input each."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfinvert.common.images import OVERSHOOT
from tfinvert.config.registry import ENDPOINTS
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.errors import InputError
from tfinvert.features.stored import StoredFeature
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import rgb_std
from tfinvert.serving import image_decoding

Outputs = dict[str, tf.Tensor]

MAX_PIXELS = 4 * 1024 * 1024  # that pass through a network at once
_PARALLEL_FILES = 8  # decoded or encoded in parallel if they are small enough


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One signature of a SavedModel.

    Attributes:
      name: name of the signature in a request.
      input: its single input, whose first axis is the batch.
      function: maps the input to named outputs with the same first axis; TensorFlow ops only.
    """

    name: str
    input: tf.TensorSpec
    function: Callable[[tf.Tensor], Outputs]


def make_serving_default(inverter: Inverter) -> Endpoint:
    """Makes the endpoint from images to reconstructions.

    Input `images`: float32 `[B, *feature.image_shape]` in [0, 1], or `[B, H, W, 3]` for an inverter
    that accepts any size; at most `MAX_PIXELS` pixels per request. Output `reconstruction`: float32
    `[B, *output_size, 3]` in [0, 1], or the size of the images. An inverter with an uncertainty
    head adds the output `uncertainty` of the same shape, see `Inverter.uncertainty`.
    """
    size = (None, None) if inverter.any_size else inverter.feature.image_shape[:2]
    spec = tf.TensorSpec((None, *size, 3), tf.float32, name="images")

    def reconstruct(images: tf.Tensor) -> Outputs:
        images = _require_elements(tf.ensure_shape(images, spec.shape))
        images = _require(
            images,
            tf.reduce_all(tf.abs(images - 0.5) <= 0.5 + OVERSHOOT),  # NaN fails every comparison
            "images must hold numbers in [0, 1], not in [-1, 1], neither 8-bit values nor NaN",
        )
        return _reconstruct(inverter, images)

    return Endpoint("serving_default", spec, reconstruct)


def make_reconstruct_bytes(inverter: Inverter) -> Endpoint:
    """Makes the endpoint from image files to reconstructions as image files.

    Input `image_bytes`: string `[B]`, each a JPEG or PNG of up to `image_decoding.MAX_PIXELS`
    pixels, of which the largest central crop with the feature's aspect ratio is used. Outputs
    `reconstruction`, as in `make_serving_default`, and `png_bytes`, string `[B]`. An inverter that
    accepts any size uses whole images of up to `MAX_PIXELS` pixels, and its only output is
    `png_bytes` of the same size.
    """
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    file_spec = tf.TensorSpec((), tf.string)
    size = inverter.feature.image_shape[:2]

    def reconstruct_to_png(pixels: tf.Tensor) -> tf.Tensor:
        images = tf.cast(pixels, tf.float32) / 255.0
        reconstructions = _reconstruct(inverter, images)["reconstruction"]
        return _map(tf.io.encode_png, _to_uint8(reconstructions), file_spec, _PARALLEL_FILES)

    def decode(data: tf.Tensor) -> tf.Tensor:
        return image_decoding.decode_rgb(data, MAX_PIXELS)

    def reconstruct_batch(image_bytes: tf.Tensor) -> tf.Tensor:
        pixel_spec = tf.TensorSpec((None, None, 3), tf.uint8)
        return reconstruct_to_png(_map(decode, image_bytes, pixel_spec, _PARALLEL_FILES))

    def reconstruct_file(data: tf.Tensor) -> tf.Tensor:
        return reconstruct_to_png(decode(data)[tf.newaxis])[0]

    def reconstruct_any_size(image_bytes: tf.Tensor) -> Outputs:
        image_bytes = _require_elements(tf.ensure_shape(image_bytes, spec.shape))
        sizes = _read_sizes(image_bytes)
        # Files of one size form a batch if they have no more pixels than one file may have.
        fits = tf.reduce_sum(tf.reduce_prod(sizes, axis=1)) <= MAX_PIXELS
        files = tf.cond(
            fits & tf.reduce_all(sizes == sizes[0]),
            lambda: reconstruct_batch(image_bytes),
            lambda: _map(reconstruct_file, image_bytes, file_spec, 1),
        )
        return {"png_bytes": files}

    def decode_crop(data: tf.Tensor) -> tf.Tensor:
        return center_crop_and_resize(image_decoding.decode_rgb(data), size)

    def reconstruct_one_size(image_bytes: tf.Tensor) -> Outputs:
        image_bytes = _require_elements(tf.ensure_shape(image_bytes, spec.shape))
        num_pixels = tf.size(image_bytes, tf.int64) * math.prod(size)
        image_bytes = _require_max_pixels(image_bytes, num_pixels)
        largest = tf.reduce_max(tf.reduce_prod(_read_sizes(image_bytes), axis=1))
        crop_spec = tf.TensorSpec((*size, 3), tf.float32)
        images = tf.cond(  # so that a request needs the memory of one decoded image of maximum size
            largest <= image_decoding.MAX_PIXELS // _PARALLEL_FILES,
            lambda: _map(decode_crop, image_bytes, crop_spec, _PARALLEL_FILES),
            lambda: _map(decode_crop, image_bytes, crop_spec, 1),
        )
        images = _reconstruct(inverter, images)["reconstruction"]
        files = _map(tf.io.encode_png, _to_uint8(images), file_spec, _PARALLEL_FILES)
        return {"reconstruction": images, "png_bytes": files}

    function = reconstruct_any_size if inverter.any_size else reconstruct_one_size
    return Endpoint("reconstruct_bytes", spec, function)


def make_invert(inverter: Inverter) -> Endpoint:
    """Makes the endpoint from features to reconstructions.

    Input `features`: float32 `[B, *feature.spec.shape]`, or with other numbers of rows and columns
    for an inverter that accepts any size. Outputs `reconstruction` and `uncertainty`, as in
    `make_serving_default`.
    """
    shape = inverter.feature.spec.shape
    if inverter.any_size:
        shape = (None, None, shape[-1])
    spec = tf.TensorSpec((None, *shape), tf.float32, name="features")

    def invert(features: tf.Tensor) -> Outputs:
        features = _require_elements(tf.ensure_shape(features, spec.shape))
        is_finite = tf.reduce_all(tf.math.is_finite(features))
        features = _require(features, is_finite, "features must be finite numbers")
        num_features = tf.size(features, tf.int64) // math.prod(inverter.feature.spec.shape)
        features = _require_max_pixels(features, num_features * math.prod(inverter.output_size))
        if inverter.any_size:
            multiple = inverter.decoder.grid_multiple
            cells = tf.shape(features, tf.int64)[1:3]
            features = _require(
                features,
                tf.reduce_all(cells % multiple == 0),
                f"both sides of features must be multiples of {multiple}",
            )
        outputs = _to_outputs(inverter, _decode_function(inverter)(features))
        is_finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(value)) for value in outputs.values()]
        )
        rule = "features must have values that an image can give"
        return {name: _require(value, is_finite, rule) for name, value in outputs.items()}

    return Endpoint("invert", spec, invert)


def make_endpoints(inverter: Inverter, names: Sequence[str] = tuple(ENDPOINTS)) -> list[Endpoint]:
    """Makes the named endpoints of an inverter.

    Raises:
      InputError: a name is unknown; there are no names; or the feature runs Python on the host and
        an endpoint would have to compute it.
    """
    unknown = [name for name in names if name not in ENDPOINTS]
    if unknown or not names:
        raise InputError(
            f"--endpoints must be one or more of {', '.join(ENDPOINTS)}. Received: "
            f"{', '.join(map(repr, unknown)) or 'none'}"
        )
    if not inverter.feature.in_graph and set(names) != {"invert"}:
        reason = "is computed by Python on the host, which a model server does not run"
        if isinstance(inverter.feature, StoredFeature):
            reason = "was computed elsewhere, and a model server lacks the function"
        raise InputError(
            f"{inverter.feature.name} {reason}; export only the endpoint from features, with "
            "--endpoints=invert"
        )
    return [ENDPOINTS[name](inverter) for name in dict.fromkeys(names)]


def _reconstruct(inverter: Inverter, images: tf.Tensor) -> Outputs:
    """Reconstructs images after checking their number and size."""
    decoder = inverter.decoder
    size = tf.shape(images, tf.int64)
    images = _require_max_pixels(images, tf.reduce_prod(size[:3]))
    if inverter.any_size:
        smallest = max(inverter.feature.cell_size, decoder.size_multiple // 2)
        is_large = tf.reduce_min(size[1:3]) >= smallest
        images = _require(
            images, is_large, f"images must have at least {smallest}×{smallest} pixels"
        )
    return _to_outputs(inverter, decoder.reconstruct(images, _decode_function(inverter)))


def _decode_function(inverter: Inverter) -> Callable[[tf.Tensor], Any]:
    decoder = inverter.decoder
    return decoder.decode_with_std if inverter.uncertainty_head else decoder.decode


def _to_outputs(inverter: Inverter, decoded: Any) -> Outputs:
    """Names the results of `_decode_function`."""
    if not inverter.uncertainty_head:
        return {"reconstruction": _ensure_image_shape(inverter, decoded)}
    images, axis_std = decoded
    return {
        "reconstruction": _ensure_image_shape(inverter, images),
        "uncertainty": _ensure_image_shape(inverter, rgb_std(axis_std)),
    }


def _require(tensor: tf.Tensor, condition: tf.Tensor, rule: str) -> tf.Tensor:
    """Returns the tensor if the condition holds; otherwise the graph fails with the broken rule."""
    assertion = tf.debugging.Assert(condition, [f"{rule}. Received:", tf.shape(tensor)])
    with tf.control_dependencies([assertion]):
        return tf.identity(tensor)


def _require_elements(batch: tf.Tensor) -> tf.Tensor:
    return _require(batch, tf.size(batch) > 0, "a request must hold at least one image or feature")


def _require_max_pixels(batch: tf.Tensor, num_pixels: tf.Tensor) -> tf.Tensor:
    rule = f"the images of a request must have at most {MAX_PIXELS} pixels together"
    return _require(batch, num_pixels <= MAX_PIXELS, rule)


def _map(
    function: Callable[[tf.Tensor], tf.Tensor],
    values: tf.Tensor,
    signature: tf.TensorSpec,
    parallel: int,
) -> tf.Tensor:
    return tf.map_fn(function, values, fn_output_signature=signature, parallel_iterations=parallel)


def _read_sizes(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads (height, width) of files from their headers: int64 `[B, 2]`."""
    signature = tf.TensorSpec((2,), tf.int64)
    return _map(image_decoding.read_header_size, image_bytes, signature, _PARALLEL_FILES)


def _to_uint8(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(images * 255.0), tf.uint8)


def _ensure_image_shape(inverter: Inverter, images: tf.Tensor) -> tf.Tensor:
    size = (None, None) if inverter.any_size else inverter.output_size
    return tf.ensure_shape(images, (None, *size, 3))
