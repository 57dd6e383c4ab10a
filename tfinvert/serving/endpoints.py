"""The functions a model server offers for an inverter."""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfinvert.data.pipeline import central_view
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.serving.decode import decode_rgb

Outputs = dict[str, tf.Tensor]


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
    `[B, *output_size, 3]` in [0, 1].
    """
    spec = tf.TensorSpec((None, *inverter.feature.image_shape), tf.float32, name="images")

    def reconstruct(images: tf.Tensor) -> Outputs:
        images = tf.ensure_shape(images, spec.shape)
        return {"reconstruction": _shaped(inverter, inverter.decode(inverter.feature(images)))}

    return Endpoint("serving_default", spec, reconstruct)


def reconstruct_bytes(inverter: Inverter) -> Endpoint:
    """Image files → reconstructions and image files.

    `image_bytes` string `[B]`, each a JPEG or PNG of any size up to `decode.MAX_PIXELS` pixels, of
    which the largest central crop of the feature's shape is taken, become `reconstruction` as in
    `serving_default` and `png_bytes` string `[B]`.
    """
    spec = tf.TensorSpec((None,), tf.string, name="image_bytes")
    size = inverter.feature.image_shape[:2]

    def reconstruct(image_bytes: tf.Tensor) -> Outputs:
        image_bytes = tf.ensure_shape(image_bytes, spec.shape)
        images = tf.map_fn(
            lambda data: central_view(decode_rgb(data), size),
            image_bytes,
            fn_output_signature=tf.TensorSpec((*size, 3), tf.float32),
            parallel_iterations=1,  # a request takes the memory of one decoded image
        )
        images = _shaped(inverter, inverter.decode(inverter.feature(images)))
        pixels = tf.cast(tf.round(images * 255.0), tf.uint8)
        return {"reconstruction": images, "png_bytes": tf.io.encode_png(pixels)}

    return Endpoint("reconstruct_bytes", spec, reconstruct)


def invert(inverter: Inverter) -> Endpoint:
    """Features → reconstructions.

    `features` float32 `[B, *feature.spec.shape]` become `reconstruction` as in `serving_default`.
    """
    spec = tf.TensorSpec((None, *inverter.feature.spec.shape), tf.float32, name="features")

    def reconstruct(features: tf.Tensor) -> Outputs:
        features = tf.ensure_shape(features, spec.shape)
        return {"reconstruction": _shaped(inverter, inverter.decode(features))}

    return Endpoint("invert", spec, reconstruct)


_MAKERS = {
    "serving_default": serving_default,
    "reconstruct_bytes": reconstruct_bytes,
    "invert": invert,
}
ENDPOINTS = tuple(_MAKERS)


def make_endpoints(inverter: Inverter, names: Sequence[str] = ENDPOINTS) -> list[Endpoint]:
    """The named endpoints of an inverter.

    Raises:
      InputError: a name is unknown, there is none, or the feature runs Python on the host and an
        endpoint would have to compute it.
    """
    unknown = [name for name in names if name not in _MAKERS]
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
    return [_MAKERS[name](inverter) for name in dict.fromkeys(names)]


def _shaped(inverter: Inverter, images: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(images, (None, *inverter.output_size, 3))
