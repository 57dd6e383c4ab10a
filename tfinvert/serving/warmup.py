"""Warm-up requests, which TensorFlow Serving runs once when it loads a model."""

import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

PATH = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")


def write_warmup_requests(
    model: pathlib.Path, requests: Iterable[tuple[str, str, np.ndarray]]
) -> None:
    """Writes the warm-up file of a SavedModel.

    Args:
      model: the SavedModel's directory.
      requests: tuples of endpoint, name of its input, and value with a batch axis.
    """
    path = model / PATH
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for endpoint, name, value in requests:
            writer.write(encode_prediction_log(endpoint, name, value))


def encode_prediction_log(endpoint: str, name: str, value: np.ndarray) -> bytes:
    """Serialises a `tensorflow.serving.PredictionLog` of one request.

    The message is encoded by hand, because it has four nested fields only, and its Python classes
    require tensorflow-serving-api. Field numbers are those of prediction_log.proto,
    predict.proto and model.proto; the server ignores the model's name here.
    """
    tensor = tf.make_tensor_proto(value).SerializeToString()
    model_spec = _encode_field(3, endpoint.encode())  # signature_name
    named_input = _encode_field(1, name.encode()) + _encode_field(2, tensor)
    predict_request = _encode_field(1, model_spec) + _encode_field(2, named_input)
    predict_log = _encode_field(1, predict_request)
    return _encode_field(6, predict_log)


def _encode_field(number: int, payload: bytes) -> bytes:
    """Encodes a length-delimited field of the protocol buffer wire format."""
    length, size = len(payload), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    size.append(length)
    return bytes([number << 3 | 2]) + bytes(size) + payload
