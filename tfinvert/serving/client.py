"""Client for an exported inverter, on a server or on disk; imports neither Keras nor tfinvert.

    python tfinvert/serving/client.py models/hog/1 photo.jpg reconstruction.png
    python tfinvert/serving/client.py http://localhost:8501/v1/models/hog photo.jpg out.png
    python tfinvert/serving/client.py grpc://localhost:8500/sift features.npy out.png

Copy this file to where it is needed. It requires NumPy and, for a directory, TensorFlow; for
`grpc://` tensorflow-serving-api, which installs TensorFlow; for `http://` nothing else.
`features.npy` holds the features of one image, as export/compute_features.py writes them.
"""

import argparse
import base64
import http.client
import io
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

_FILES = (bytes, str, os.PathLike)
_ADDRESSES = (
    "a SavedModel's directory, http://HOST:PORT/v1/models/NAME or grpc://HOST:PORT/NAME; the URLs "
    "may end in /versions/NUMBER"
)
# (endpoint, name of its input, its value with a batch axis, output, timeout in seconds) → output
_Request = Callable[[str, str, Any, str, float], Any]


class _TemporaryError(Exception):
    """The server cannot answer now, but a retry may succeed."""


class Client:
    """Client for an exported inverter. Threads may share one."""

    def __init__(
        self,
        address: str | os.PathLike[str],
        *,
        deadline: float = 60.0,
        attempts: int = 6,
        batch: int = 32,
    ):
        """Connects to a server, or loads a model from disk.

        Args:
          address: the directory of a version, as "models/hog/1"; "http://HOST:8501/v1/models/NAME"
            or https; "grpc://HOST:8500/NAME", or grpcs for TLS. A URL may end in
            "/versions/NUMBER"; otherwise the newest version on the server answers.
          deadline: time limit of a request in seconds, over all attempts; ignored for a model on
            disk, which cannot be interrupted.
          attempts: maximum number of attempts per request while the server is unreachable,
            restarts or has a full queue. The client backs off between attempts: 0.1 s, doubled each
            time up to 5 s, with a random reduction of up to a half, so that clients do not retry in
            step.
          batch: maximum number of images per request; more are sent in consecutive requests. A
            server with batching accepts no more than its `max_batch_size`.

        Raises:
          ValueError: the address has none of these forms, a number is out of range, there is no
            complete model, or a library that the address requires is not installed.
        """
        if not deadline > 0 or attempts < 1 or batch < 1:
            raise ValueError(
                "deadline must be above 0, and attempts and batch at least 1. Received: "
                f"{deadline}, {attempts}, {batch}"
            )
        self.address = os.path.expanduser(address)
        self.deadline, self.attempts, self.batch = deadline, attempts, batch
        scheme = self.address.partition("://")[0] if "://" in self.address else ""
        if scheme in ("http", "https"):
            self._request: _Request = _RestBackend(self.address)
        elif scheme in ("grpc", "grpcs"):
            self._request = _GrpcBackend(self.address)
        elif not scheme:
            self._request = _DiskBackend(self.address)
        else:
            raise ValueError(f"the address must be {_ADDRESSES}. Received: {self.address}")

    def reconstruct(self, images: Any) -> Any:
        """Reconstructs images: image files become PNG files, and arrays become arrays.

        Args:
          images: JPEG or PNG files as bytes or paths, or arrays `[H, W, 3]`, uint8 or floating
            point in [0, 1]; one or several. Consecutive arrays of one shape share requests.

        Returns:
          For each image, in order: a PNG as bytes, or float32 `[h, w, 3]` in [0, 1]. One image
          gives one result in place of a list.

        Raises:
          ValueError: the images are neither, or the model rejects them.
          OSError: a file cannot be read.
          TimeoutError: there was no answer before the deadline.
          ConnectionError: no attempt reached a server that was able to answer.
        """
        if isinstance(images, _FILES) or getattr(images, "ndim", 0) == 3:
            return self.reconstruct([images])[0]
        images = [
            pathlib.Path(image).read_bytes() if isinstance(image, (str, os.PathLike)) else image
            for image in images
        ]
        if all(isinstance(image, bytes) for image in images):
            return self._run_in_batches("reconstruct_bytes", "image_bytes", images, "png_bytes")
        arrays = _to_float_arrays([_scale_bytes(image) for image in images])
        return self._run_in_batches("serving_default", "images", arrays, "reconstruction")

    def invert(self, features: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
        """Reconstructs images from their features: float32 `[h, w, 3]` in [0, 1].

        Args:
          features: one float32 array per image, as the feature computes it.

        Raises:
          ValueError: the features are not float arrays, or the model rejects them.
          TimeoutError: there was no answer before the deadline.
          ConnectionError: no attempt reached a server that was able to answer.
        """
        arrays = _to_float_arrays(list(features))
        return self._run_in_batches("invert", "features", arrays, "reconstruction")

    def _run_in_batches(
        self, endpoint: str, name: str, values: list[Any], output: str
    ) -> list[Any]:
        results: list[Any] = []
        for _, group in itertools.groupby(values, key=lambda value: getattr(value, "shape", None)):
            same_shape = list(group)
            for i in range(0, len(same_shape), self.batch):
                batch = same_shape[i : i + self.batch]
                answer = self._request_with_retries(endpoint, name, batch, output)
                if len(answer) != len(batch):
                    raise ValueError(
                        f"{self.address} returned {len(answer)} values for {len(batch)} {name}"
                    )
                results += answer
        return results

    def _request_with_retries(
        self, endpoint: str, name: str, batch: list[Any], output: str
    ) -> list[Any]:
        """Sends one request, again after a temporary error while time is left."""
        end = time.monotonic() + self.deadline
        for attempt in range(self.attempts):
            remaining = end - time.monotonic()
            try:
                return list(self._request(endpoint, name, batch, output, max(remaining, 1e-3)))
            except TimeoutError as error:
                message = f"{self.address} did not answer within {self.deadline:g} s"
                raise TimeoutError(message) from error
            except _TemporaryError as error:
                reason = error
            pause = min(0.1 * 2**attempt, 5.0) * random.uniform(0.5, 1.0)
            if attempt + 1 < self.attempts:
                if time.monotonic() + pause >= end:
                    raise TimeoutError(
                        f"{self.address} did not answer within {self.deadline:g} s: {reason}"
                    )
                time.sleep(pause)
        raise ConnectionError(
            f"{self.address} did not answer in {self.attempts} attempts: {reason}"
        )


def _scale_bytes(image: Any) -> Any:
    """Maps uint8 arrays to [0, 1]."""
    is_bytes = getattr(image, "dtype", None) == np.uint8
    return np.asarray(image) / np.float32(255) if is_bytes else image


def _to_float_arrays(values: list[Any]) -> list[np.ndarray]:
    arrays = [np.asarray(value) for value in values if not isinstance(value, (bytes, str))]
    wrong_types = {str(array.dtype) for array in arrays if array.dtype.kind != "f"}
    if wrong_types or len(arrays) < len(values):
        raise ValueError(
            "images must be all files, or all arrays that are uint8 or floating point in [0, 1]. "
            f"Received: {', '.join(sorted(wrong_types)) or 'both'}"
        )
    return [array.astype(np.float32, copy=False) for array in arrays]


class _DiskBackend:
    """Runs the SavedModel in a directory."""

    def __init__(self, directory: str):
        # Imported late: no other backend needs it, and `main` blocks the import of Keras first.
        import tensorflow as tf

        self._address, self._tf = directory, tf
        if not tf.saved_model.contains_saved_model(directory):
            raise ValueError(f"there is no SavedModel at {directory}")
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
        tensor = self._tf.constant(_stack(values))
        spec = signatures[endpoint].structured_input_signature[1].get(name)
        if spec is None:
            raise ValueError(f"the endpoint {endpoint} of {self._address} has no input {name}")
        if not spec.shape.is_compatible_with(tensor.shape):
            raise ValueError(
                f"{name} for the endpoint {endpoint} must have the shape {spec.shape}. Received: "
                f"{tuple(tensor.shape)}"
            )
        try:
            return signatures[endpoint](**{name: tensor})[output].numpy()
        except self._tf.errors.InvalidArgumentError as error:
            raise ValueError(
                f"the model rejects the {name}: {_strip_node(error.message)}"
            ) from error


class _GrpcBackend:
    """Calls TensorFlow Serving's PredictionService."""

    def __init__(self, address: str):
        url = urllib.parse.urlsplit(address)
        match = re.fullmatch(r"/([^/]+)(?:/versions/(\d+))?/?", url.path)
        if not url.netloc or not match:
            raise ValueError(f"the address must be {_ADDRESSES}. Received: {address}")
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise ValueError(
                f"grpc:// requires the package tensorflow-serving-api: {error}"
            ) from error
        self._grpc, self._tf, self._request = grpc, tf, predict_pb2.PredictRequest
        self._name, self._version = match[1], match[2]
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            # The default would notice a restarted server too late.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5000),
        ]
        if url.scheme == "grpcs":
            credentials = grpc.ssl_channel_credentials()
            channel = grpc.secure_channel(url.netloc, credentials, options)
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
        request.inputs[name].CopyFrom(self._tf.make_tensor_proto(_stack(values)))
        try:
            answer = self._predict(request, timeout=seconds)
        except self._grpc.RpcError as error:
            code, message = error.code(), _strip_node(error.details() or "")
            if code in (self._grpc.StatusCode.UNAVAILABLE, self._grpc.StatusCode.ABORTED):
                raise _TemporaryError(message) from error
            if code is self._grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            raise ValueError(f"the server rejects the {name}: {code.name}: {message}") from error
        return self._tf.make_ndarray(answer.outputs[output])


class _RestBackend:
    """Calls TensorFlow Serving's REST API."""

    def __init__(self, address: str):
        url = urllib.parse.urlsplit(address)
        if not url.netloc or not re.fullmatch(r".*/v1/models/[^/:]+(/versions/\d+)?/?", url.path):
            raise ValueError(f"the address must be {_ADDRESSES}. Received: {address}")
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
            if isinstance(error, _RejectedError):
                raise ValueError(f"the server rejects the {name}: {error}") from error
            raise ValueError(
                f"the answer of {self._url} is not that of TensorFlow Serving: {error!r}"
            ) from error

    def _read(self, request: urllib.request.Request, seconds: float) -> bytes:
        """Reads the body of the answer; a socket's own timeout does not limit the total time."""
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
                message = f"HTTP {error.code}: {_read_error(error.read())}"
            if error.code in (429, 502, 503):
                raise _TemporaryError(message) from error
            if error.code == 504:
                raise TimeoutError from error
            raise _RejectedError(message) from error
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
                raise TimeoutError from error
            raise _TemporaryError(str(cause) or type(cause).__name__) from error
        return b"".join(parts)


class _RejectedError(ValueError):
    """The server rejects the request, and would reject it again."""


def _stack(values: list[Any]) -> np.ndarray:
    return np.array(values, object) if isinstance(values[0], bytes) else np.stack(values)


def _read_error(body: bytes) -> str:
    """Returns the message of an error response, in TensorFlow Serving's JSON or a proxy's text."""
    try:
        return _strip_node(str(json.loads(body)["error"]))
    except (LookupError, TypeError, ValueError):
        return " ".join(body[:200].decode(errors="replace").split())


def _strip_node(message: str) -> str:
    """Removes the graph node that TensorFlow appends to an error message."""
    match = re.search(r"(.*)\n?\s*\[\[\{\{node", message)
    return (match[1] if match else message).strip()


def read_features(path: pathlib.Path) -> np.ndarray:
    """Reads the features of one image from a `.npy` file: float32 `[1, …]`.

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


def _encode_png(image: np.ndarray) -> bytes:
    """Encodes `[h, w, 3]` in [0, 1] as a PNG, without a library, which a client may not have."""
    pixels = np.rint(255 * image).astype(np.uint8)
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), [(0, 0), (1, 0)])  # a row starts with filter type 0
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
    """Runs the command line; wrong input exits with status 2 and one line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=_ADDRESSES)
    parser.add_argument(
        "image", type=pathlib.Path, help="JPEG or PNG file, or features in a .npy file"
    )
    parser.add_argument("output", type=pathlib.Path, help="PNG file to write")
    parser.add_argument(
        "--deadline",
        type=float,
        default=60.0,
        help="time limit of a request to a server, in seconds; default: 60",
    )
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.modules["keras"] = None  # makes an import of Keras fail: nothing here needs it
    stdout = sys.stdout if isinstance(sys.stdout, io.TextIOWrapper) else None
    if stdout:  # its encoding may lack characters of the path
        stdout.reconfigure(errors="backslashreplace")
    try:
        client = Client(arguments.model, deadline=arguments.deadline)
        if arguments.image.suffix == ".npy":
            png = _encode_png(client.invert(read_features(arguments.image))[0])
        else:
            (png,) = client.reconstruct([arguments.image.read_bytes()])
        _write_atomically(arguments.output, png)
        width, height = struct.unpack(">II", png[16:24])
        print(f"{arguments.output}: {width}x{height} pixels", flush=True)
    except (OSError, ValueError) as error:
        if stdout:  # which would fail again when Python ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(141)  # as shells report for a process that SIGPIPE ended
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _write_atomically(path: pathlib.Path, data: bytes) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
