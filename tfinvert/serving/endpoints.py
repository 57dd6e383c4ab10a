"""The functions a model server offers for an inverter."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfinvert.config.registry import ENDPOINTS
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import rgb_std
from tfinvert.serving import image_decoding

Outputs = dict[str, tf.Tensor]

MAX_PIXELS = 4 * 1024 * 1024  # of what goes through a network at once
_AT_ONCE = 8  # files that are decoded or encoded at the same time, where they are small enough


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One signature of a SavedModel.

    Attributes:
      name: what a request calls it.
      input: its single input; the first axis is the batch.
      function: from that input to named outputs with the same first axis, TensorFlow ops alone.
    """

    name: str
    input: tf.TensorSpec
    function: Callable[[tf.Tensor], Outputs]


def serving_default(inverter: Inverter) -> Endpoint:
    """Images → reconstructions.

    `images` float32 `[B, *feature.image_shape]` in [0, 1] become `reconstruction` float32
    `[B, *output_size, 3]` in [0, 1]. Of an inverter for any size, `[B, H, W, 3]` become as many of
    the same size. All of a request have up to `MAX_PIXELS` together. An inverter with a spread
    also gives `uncertainty`, of the same shape: see `Inverter.uncertainty`.
    """
    size = (None, None) if inverter.any_size else inverter.feature.image_shape[:2]
    spec = tf.TensorSpec((None, *size, 3), tf.float32, name="images")

    def reconstruct(images: tf.Tensor) -> Outputs:
        images = _some(tf.ensure_shape(images, spec.shape))
        images = _admitted(
            images,
            # Resampling goes beyond 0 and 1, though never so far; NaN is within no bounds.
            tf.reduce_all(tf.abs(images - 0.5) <= 1.5),
            "images hold numbers in [0, 1], neither those of 8 bits nor NaN",
        )
        return _rebuilt(inverter, images)

    return Endpoint("serving_default", spec, reconstruct)


def reconstruct_bytes(inverter: Inverter) -> Endpoint:
    """Image files → reconstructions and image files.

    `image_bytes` string `[B]`, each a JPEG or PNG of any size up to `image_decoding.MAX_PIXELS` pixels, of
    which the largest central crop of the feature's shape is taken, become `reconstruction` as in
    `serving_default` and `png_bytes` string `[B]`. Of an inverter for any size, whole images up to
    `MAX_PIXELS` become `png_bytes` of the same size.
    """
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    files_spec = tf.TensorSpec((), tf.string)
    size = inverter.feature.image_shape[:2]

    def rebuilt_files(images: tf.Tensor) -> tf.Tensor:
        rebuilt = _rebuilt(inverter, tf.cast(images, tf.float32) / 255.0)["reconstruction"]
        return _each(tf.io.encode_png, _pixels(rebuilt), files_spec, _AT_ONCE)

    def decoded(data: tf.Tensor) -> tf.Tensor:
        return image_decoding.decode_rgb(data, MAX_PIXELS)

    def together(image_bytes: tf.Tensor) -> tf.Tensor:
        pixels = tf.TensorSpec((None, None, 3), tf.uint8)
        return rebuilt_files(_each(decoded, image_bytes, pixels, _AT_ONCE))

    def alone(data: tf.Tensor) -> tf.Tensor:
        return rebuilt_files(decoded(data)[tf.newaxis])[0]

    def reconstruct_whole(image_bytes: tf.Tensor) -> Outputs:
        image_bytes = _some(tf.ensure_shape(image_bytes, spec.shape))
        sizes = _sizes(image_bytes)
        # As many pixels as one file may have; files of one size need the network only once.
        few = tf.reduce_sum(tf.reduce_prod(sizes, axis=1)) <= MAX_PIXELS
        files = tf.cond(
            few & tf.reduce_all(sizes == sizes[0]),
            lambda: together(image_bytes),
            lambda: _each(alone, image_bytes, files_spec, 1),
        )
        return {"png_bytes": files}

    def view(data: tf.Tensor) -> tf.Tensor:
        return center_crop_and_resize(image_decoding.decode_rgb(data), size)

    def reconstruct(image_bytes: tf.Tensor) -> Outputs:
        image_bytes = _some(tf.ensure_shape(image_bytes, spec.shape))
        image_bytes = _few(image_bytes, tf.size(image_bytes, tf.int64) * math.prod(size))
        pixels = tf.reduce_max(tf.reduce_prod(_sizes(image_bytes), axis=1))
        view_spec = tf.TensorSpec((*size, 3), tf.float32)
        images = tf.cond(  # a request takes the memory of one decoded image, the largest there is
            pixels <= image_decoding.MAX_PIXELS // _AT_ONCE,
            lambda: _each(view, image_bytes, view_spec, _AT_ONCE),
            lambda: _each(view, image_bytes, view_spec, 1),
        )
        images = _rebuilt(inverter, images)["reconstruction"]
        files = _each(tf.io.encode_png, _pixels(images), files_spec, _AT_ONCE)
        return {"reconstruction": images, "png_bytes": files}

    function = reconstruct_whole if inverter.any_size else reconstruct
    return Endpoint("reconstruct_bytes", spec, function)


def invert(inverter: Inverter) -> Endpoint:
    """Features → reconstructions.

    `features` float32 `[B, *feature.spec.shape]`, of an inverter for any size also of other rows
    and columns, become `reconstruction`, with its `uncertainty`, as in `serving_default`.
    """
    shape = inverter.feature.spec.shape
    if inverter.any_size:
        shape = (None, None, shape[-1])
    spec = tf.TensorSpec((None, *shape), tf.float32, name="features")

    def reconstruct(features: tf.Tensor) -> Outputs:
        features = _some(tf.ensure_shape(features, spec.shape))
        finite = tf.reduce_all(tf.math.is_finite(features))
        features = _admitted(features, finite, "features are finite numbers")
        pixels = tf.size(features, tf.int64) // math.prod(inverter.feature.spec.shape)
        features = _few(features, pixels * math.prod(inverter.output_size))
        if inverter.any_size:
            cells = tf.shape(features, tf.int64)[1:3]
            features = _admitted(
                features,
                tf.reduce_all(cells % inverter.contraction == 0),
                f"features have sides that are multiples of {inverter.contraction}",
            )
        made = _outputs(inverter, _decoder(inverter)(features))
        whole = tf.reduce_all([tf.reduce_all(tf.math.is_finite(x)) for x in made.values()])
        accepted = "features are of sizes that an image gives"
        return {name: _admitted(x, whole, accepted) for name, x in made.items()}

    return Endpoint("invert", spec, reconstruct)


def make_endpoints(inverter: Inverter, names: Sequence[str] = tuple(ENDPOINTS)) -> list[Endpoint]:
    """The named endpoints of an inverter.

    Raises:
      InputError: a name is unknown, there is none, or the feature runs Python on the host and an
        endpoint would have to compute it.
    """
    unknown = [name for name in names if name not in ENDPOINTS]
    if unknown or not names:
        raise InputError(
            f"endpoints are one or more of {', '.join(ENDPOINTS)}. Received: "
            f"{', '.join(map(repr, unknown)) or 'none'}"
        )
    if not inverter.feature.in_graph and set(names) != {"invert"}:
        raise InputError(
            f"{inverter.feature.name} is computed by Python on the host and a model server runs no "
            "Python; only the endpoint from features can be exported: --endpoints=invert"
        )
    return [ENDPOINTS[name](inverter) for name in dict.fromkeys(names)]


def _rebuilt(inverter: Inverter, images: tf.Tensor) -> Outputs:
    """Reconstructions of images, of which too many or too small ones are an error."""
    size = tf.shape(images, tf.int64)
    images = _few(images, tf.reduce_prod(size[:3]))
    if inverter.any_size:
        smallest = max(inverter.feature.cell_size, inverter.multiple // 2)
        large = tf.reduce_min(size[1:3]) >= smallest
        images = _admitted(images, large, f"images have at least {smallest}×{smallest} pixels")
    return _outputs(inverter, inverter.rebuild(images, _decoder(inverter)))


def _decoder(inverter: Inverter) -> Callable[[tf.Tensor], Any]:
    return inverter.decode_with_deviations if inverter.spread else inverter.decode


def _outputs(inverter: Inverter, decoded: Any) -> Outputs:
    """Of what `_decoder` gives."""
    if not inverter.spread:
        return {"reconstruction": _shaped(inverter, decoded)}
    images, deviations = decoded
    return {
        "reconstruction": _shaped(inverter, images),
        "uncertainty": _shaped(inverter, rgb_std(deviations)),
    }


def _few(batch: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """The batch, where its images have no more pixels together than a request may."""
    accepted = f"the images of a request have at most {MAX_PIXELS} pixels together"
    return _admitted(batch, pixels <= MAX_PIXELS, accepted)


def _admitted(tensor: tf.Tensor, condition: tf.Tensor, accepted: str) -> tf.Tensor:
    """The tensor, where the condition holds; else an error that says what is accepted."""
    held = tf.debugging.Assert(condition, [f"{accepted}. Received:", tf.shape(tensor)])
    with tf.control_dependencies([held]):
        return tf.identity(tensor)


def _some(batch: tf.Tensor) -> tf.Tensor:
    """The batch, of which an empty one is an error."""
    return _admitted(batch, tf.size(batch) > 0, "a request holds at least one image or feature")


def _each(
    function: Callable[[tf.Tensor], tf.Tensor],
    values: tf.Tensor,
    signature: tf.TensorSpec,
    at_once: int,
) -> tf.Tensor:
    return tf.map_fn(function, values, fn_output_signature=signature, parallel_iterations=at_once)


def _sizes(image_bytes: tf.Tensor) -> tf.Tensor:
    """(height, width) of files by their headers: int64 `[B, 2]`."""
    signature = tf.TensorSpec((2,), tf.int64)
    return _each(image_decoding.read_header_size, image_bytes, signature, _AT_ONCE)


def _pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.round(images * 255.0), tf.uint8)


def _shaped(inverter: Inverter, images: tf.Tensor) -> tf.Tensor:
    size = (None, None) if inverter.any_size else inverter.output_size
    return tf.ensure_shape(images, (None, *size, 3))
