"""Asks an exported inverter, on a server or on disk, without Keras and without tfinvert.

    python tfinvert/serving/client.py models/hog/1 photo.jpg reconstruction.png
    python tfinvert/serving/client.py http://localhost:8501/v1/models/hog photo.jpg out.png
    python tfinvert/serving/client.py grpc://localhost:8500/sift features.npy out.png

Copy this file to where it is used. It needs NumPy and, for a directory, TensorFlow; for `grpc://`
tensorflow-serving-api, which brings TensorFlow; for `http://` nothing more. `features.npy` holds
the features of one image, as export/compute_features.py writes them.
"""

import argparse
import base64
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_FORMS = (
    "a SavedModel's directory, http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME, the last "
    "two with /versions/NUMBER where it is not the newest"
)
# (endpoint, name of its input, its value with a batch axis, the output, seconds) → that output
_Ask = Callable[[str, str, Any, str, float], Any]


class _Busy(Exception):
    """The server cannot answer now, and may soon."""


class Client:
    """An exported inverter, wherever it is.

    Threads may share one.

    Args:
      address: a version's directory, as "models/hog/1"; "http://HOST:8501/v1/models/NAME", or
        https; "grpc://HOST:8500/NAME", or grpcs for TLS. The URLs may go on with
        "/versions/NUMBER"; without it the server's newest version answers.
      deadline: seconds in which a request must be answered, all its attempts together; of a model
        on disk, which cannot be interrupted, it is not looked at.
      attempts: how often a request is sent at most while the server is not there, restarts or has
        a full queue. Between attempts the client waits: 0.1 s, then twice as long each time, up to
        5 s, and a random half of it less, so that clients do not come back together.
      batch: images in a request, at most; more are sent one request after the other. A server that
        batches takes no more than its `max_batch_size`.

    Raises:
      ValueError: the address is none of these, a number is out of range, there is no whole model,
        or a library that the address needs is not installed.
    """

    def __init__(
        self,
        address: str | os.PathLike[str],
        *,
        deadline: float = 60.0,
        attempts: int = 6,
        batch: int = 32,
    ):
        if not deadline > 0 or attempts < 1 or batch < 1:
            raise ValueError(
                "deadline must be above 0 and attempts and batch from 1. Received: "
                f"{deadline}, {attempts}, {batch}"
            )
        self.address = os.fspath(address)
        self.deadline, self.attempts, self.batch = deadline, attempts, batch
        scheme = self.address.partition("://")[0] if "://" in self.address else ""
        if scheme in ("http", "https"):
            self._ask: _Ask = _Rest(self.address)
        elif scheme in ("grpc", "grpcs"):
            self._ask = _Grpc(self.address)
        elif not scheme:
            self._ask = _Disk(self.address)
        else:
            raise ValueError(f"an address is {_FORMS}. Received: {self.address}")

    def reconstruct(self, images: Sequence[bytes] | Sequence[np.ndarray] | np.ndarray) -> list[Any]:
        """What the network makes of images: PNG files of image files, arrays of arrays.

        Args:
          images: JPEG or PNG files as bytes, or float arrays `[H, W, 3]` in [0, 1], of which those
            of one shape that follow each other share requests.

        Returns:
          For each, in order: a PNG as bytes, or float32 `[h, w, 3]` in [0, 1].

        Raises:
          ValueError: the images are neither, or the model refuses them.
          TimeoutError: no answer came before the deadline.
          ConnectionError: the server could not be reached, or not used, in any attempt.
        """
        images = list(images)
        if all(isinstance(image, bytes) for image in images):
            return self._in_batches("reconstruct_bytes", "image_bytes", images, "png_bytes")
        return self._in_batches("serving_default", "images", _floats(images), "reconstruction")

    def invert(self, features: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """The images that the network makes of features, as float32 `[h, w, 3]` in [0, 1].

        Args:
          features: of each image, float32 as the feature computes them.

        Raises:
          ValueError: the features are none, or the model refuses them.
          TimeoutError: no answer came before the deadline.
          ConnectionError: the server could not be reached, or not used, in any attempt.
        """
        return self._in_batches("invert", "features", _floats(list(features)), "reconstruction")

    def _in_batches(self, endpoint: str, name: str, values: list[Any], output: str) -> list[Any]:
        found: list[Any] = []
        for _, like in itertools.groupby(values, key=lambda value: getattr(value, "shape", None)):
            same = list(like)
            for i in range(0, len(same), self.batch):
                part = same[i : i + self.batch]
                answer = self._patiently(endpoint, name, part, output)
                if len(answer) != len(part):
                    raise ValueError(
                        f"{self.address} answered {len(answer)} values to {len(part)} {name}"
                    )
                found += answer
        return found

    def _patiently(self, endpoint: str, name: str, part: list[Any], output: str) -> list[Any]:
        """One request, sent again where that may help and time is left."""
        end = time.monotonic() + self.deadline
        for attempt in range(self.attempts):
            left = end - time.monotonic()
            try:
                return list(self._ask(endpoint, name, part, output, max(left, 1e-3)))
            except TimeoutError as error:
                message = f"{self.address} gave no answer in {self.deadline:g} s"
                raise TimeoutError(message) from error
            except _Busy as error:
                reason = error
            pause = min(0.1 * 2**attempt, 5.0) * random.uniform(0.5, 1.0)
            if attempt + 1 < self.attempts:
                if time.monotonic() + pause >= end:
                    message = f"{self.address} gave no answer in {self.deadline:g} s: {reason}"
                    raise TimeoutError(message)
                time.sleep(pause)
        message = f"{self.address} gave no answer in {self.attempts} attempts: {reason}"
        raise ConnectionError(message)


def _floats(values: list[Any]) -> list[np.ndarray]:
    arrays = [np.asarray(value) for value in values if not isinstance(value, (bytes, str))]
    kinds = {str(array.dtype) for array in arrays if array.dtype.kind != "f"}
    if kinds or len(arrays) < len(values):
        raise ValueError(
            "images are all files (bytes) or all floating point arrays in [0, 1]; divide 8-bit "
            f"pixels by 255. Received: {', '.join(sorted(kinds)) or 'both'}"
        )
    return [array.astype(np.float32, copy=False) for array in arrays]


class _Disk:
    """A SavedModel's directory."""

    def __init__(self, directory: str):
        import tensorflow as tf  # late: only this needs it, and `main` shuts Keras out first

        self._address, self._tf = directory, tf
        if not tf.saved_model.contains_saved_model(directory):
            raise ValueError(f"no SavedModel at {directory}")
        try:
            self._model = tf.saved_model.load(directory)
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"{directory} cannot be loaded: {error}") from error

    def __call__(
        self, endpoint: str, name: str, values: list[Any], output: str, seconds: float
    ) -> Any:
        signatures = self._model.signatures
        if endpoint not in signatures:
            raise ValueError(
                f"{self._address} has no endpoint {endpoint}; it has {', '.join(signatures)}"
            )
        tensor = self._tf.constant(_stacked(values))
        spec = signatures[endpoint].structured_input_signature[1].get(name)
        if spec is None:
            raise ValueError(f"{endpoint} of {self._address} takes no {name}")
        if not spec.shape.is_compatible_with(tensor.shape):
            raise ValueError(
                f"{endpoint} takes {name} {spec.shape}. Received: {tuple(tensor.shape)}"
            )
        try:
            return signatures[endpoint](**{name: tensor})[output].numpy()
        except self._tf.errors.InvalidArgumentError as error:
            raise ValueError(f"the model refuses the {name}: {_reason(error.message)}") from error


class _Grpc:
    """TensorFlow Serving's PredictionService."""

    def __init__(self, address: str):
        url = urllib.parse.urlsplit(address)
        found = re.fullmatch(r"/([^/]+)(?:/versions/(\d+))?/?", url.path)
        if not url.netloc or not found:
            raise ValueError(f"an address is {_FORMS}. Received: {address}")
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise ValueError(
                f"grpc:// needs the package tensorflow-serving-api: {error}"
            ) from error
        self._grpc, self._tf, self._request = grpc, tf, predict_pb2.PredictRequest
        self._name, self._version = found[1], found[2]
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.initial_reconnect_backoff_ms", 100),  # or it would not see a server come back
            ("grpc.max_reconnect_backoff_ms", 5000),
        ]
        if url.scheme == "grpcs":
            secret = grpc.ssl_channel_credentials()
            channel = grpc.secure_channel(url.netloc, secret, options)
        else:
            channel = grpc.insecure_channel(url.netloc, options)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

    def __call__(
        self, endpoint: str, name: str, values: list[Any], output: str, seconds: float
    ) -> Any:
        request = self._request(output_filter=[output])
        request.model_spec.name, request.model_spec.signature_name = self._name, endpoint
        if self._version:
            request.model_spec.version.value = int(self._version)
        request.inputs[name].CopyFrom(self._tf.make_tensor_proto(_stacked(values)))
        try:
            answer = self._predict(request, timeout=seconds)
        except self._grpc.RpcError as error:
            code, said = error.code(), _reason(error.details() or "")
            if code in (self._grpc.StatusCode.UNAVAILABLE, self._grpc.StatusCode.ABORTED):
                raise _Busy(said) from error
            if code is self._grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            raise ValueError(f"the server refuses the {name}: {code.name}: {said}") from error
        return self._tf.make_ndarray(answer.outputs[output])


class _Rest:
    """TensorFlow Serving's REST API."""

    def __init__(self, address: str):
        url = urllib.parse.urlsplit(address)
        if not url.netloc or not re.fullmatch(r".*/v1/models/[^/:]+(/versions/\d+)?/?", url.path):
            raise ValueError(f"an address is {_FORMS}. Received: {address}")
        self._url = f"{address.rstrip('/')}:predict"

    def __call__(
        self, endpoint: str, name: str, values: list[Any], output: str, seconds: float
    ) -> Any:
        if isinstance(values[0], bytes):
            instances = [{"b64": base64.b64encode(value).decode()} for value in values]
        else:
            instances = [value.tolist() for value in values]
        body = json.dumps({"signature_name": endpoint, "instances": instances}).encode()
        request = urllib.request.Request(
            self._url, body, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            answer = json.loads(self._read(request, seconds))
            predictions = [
                value[output] if isinstance(value, dict) and output in value else value
                for value in answer["predictions"]
            ]
            if isinstance(values[0], bytes):
                return [base64.b64decode(value["b64"]) for value in predictions]
            return [np.array(value, np.float32) for value in predictions]
        except (LookupError, TypeError, ValueError) as error:
            if isinstance(error, _Refused):
                raise ValueError(f"the server refuses the {name}: {error}") from error
            raise ValueError(
                f"{self._url} did not answer as TensorFlow Serving does: {error!r}"
            ) from error

    def _read(self, request: urllib.request.Request, seconds: float) -> bytes:
        """The body of the answer, within the time that a socket's own limit does not keep."""
        end = time.monotonic() + seconds
        parts: list[bytes] = []
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                while part := answer.read1(1 << 20):
                    parts.append(part)
                    if time.monotonic() > end:
                        raise TimeoutError
        except urllib.error.HTTPError as error:
            with error:
                said = _error_of(error.read())
            if error.code in (429, 502, 503):
                raise _Busy(f"HTTP {error.code}: {said}") from error
            if error.code == 504:
                raise TimeoutError from error
            raise _Refused(f"HTTP {error.code}: {said}") from error
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
                raise TimeoutError from error
            raise _Busy(str(cause) or type(cause).__name__) from error
        return b"".join(parts)


class _Refused(ValueError):
    """The server says no, and would again."""


def _stacked(values: list[Any]) -> np.ndarray:
    return np.array(values, object) if isinstance(values[0], bytes) else np.stack(values)


def _error_of(body: bytes) -> str:
    """What an answer that is no success says, be it in TensorFlow Serving's JSON or a proxy's."""
    try:
        return _reason(str(json.loads(body)["error"]))
    except (LookupError, TypeError, ValueError):
        return " ".join(body[:200].decode(errors="replace").split())


def _reason(message: str) -> str:
    """What went wrong, out of TensorFlow's account of where."""
    found = re.search(r"(.*)\n?\s*\[\[\{\{node", message)
    return (found[1] if found else message).strip()


def read_features(path: pathlib.Path) -> np.ndarray:
    """The features of one image in a `.npy` file: float32 `[1, …]`.

    Raises:
      ValueError: the file holds something else.
    """
    features = np.load(path, allow_pickle=False)
    if features.dtype != np.float32 or len(features) != 1:
        raise ValueError(
            f"{path} must hold float32 features of one image, [1, …]. Received: "
            f"{features.dtype} {list(features.shape)}"
        )
    return features


def _png(image: np.ndarray) -> bytes:
    """A PNG of `[h, w, 3]` in [0, 1]: by hand, since not every client has a library for it."""
    pixels = np.rint(255 * image).astype(np.uint8)
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), [(0, 0), (1, 0)])  # each begins with its filter, none
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows.tobytes()),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def main() -> None:
    """The command line: exit status 2 and one line on standard error if the input is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=_FORMS)
    parser.add_argument(
        "image", type=pathlib.Path, help="a JPEG or PNG file, or features in a .npy file"
    )
    parser.add_argument("output", type=pathlib.Path, help="where the PNG goes")
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds, for a server")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.modules["keras"] = None  # an import would fail: nothing here needs Keras
    try:
        client = Client(arguments.model, deadline=arguments.deadline)
        if arguments.image.suffix == ".npy":
            png = _png(client.invert(read_features(arguments.image))[0])
        else:
            (png,) = client.reconstruct([arguments.image.read_bytes()])
        _write(arguments.output, png)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    width, height = struct.unpack(">II", png[16:24])
    print(f"{arguments.output}: {width}×{height} pixels")


def _write(path: pathlib.Path, data: bytes) -> None:
    """Writes the file whole or not at all."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
