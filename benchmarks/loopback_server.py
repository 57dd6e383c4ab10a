"""A server with TensorFlow Serving's two protocols, for tests and measurements on one machine.

    python benchmarks/loopback_server.py --model=models/hog

runs the signatures of an exported model, as the official server does, and implements gRPC's
PredictionService and the REST API with that server's own protocol buffers, statuses and error
messages. It has neither batching nor protection: use it with trusted clients only.
"""

import abc
import base64
import functools
import http.server
import json
import pathlib
import re
import threading
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from absl import app, flags
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_HTTP = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict|/metadata)?")


class RequestError(Exception):
    """An error response: the name of a gRPC status, and a message."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class ModelRepository(abc.ABC):
    """The models that a server offers.

    Args:
      path: a directory, whose name is the model's name in an address.
      parallel: number of requests that run at the same time; others wait.
    """

    def __init__(self, path: pathlib.Path, parallel: int = 2):
        self.path, self.name = path, path.name
        self._semaphore = threading.Semaphore(parallel)

    @abc.abstractmethod
    def versions(self, name: str) -> dict[int, Any]:
        """Returns the SavedModels of a model by version; empty for an unknown model."""

    def version(self, name: str, number: int | None) -> Any:
        """Returns the requested version, or the newest."""
        versions = self.versions(name)
        if not versions or (number is not None and number not in versions):
            wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise RequestError("NOT_FOUND", f"Servable not found for request: {wanted}")
        return versions[max(versions) if number is None else number]

    def predict(
        self, name: str, number: int | None, signature: str, inputs: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        """Runs a signature and returns its outputs by name."""
        function = self.version(name, number).signatures.get(signature or "serving_default")
        if function is None:
            raise RequestError(
                "INVALID_ARGUMENT", f'Serving signature name: "{signature}" not found'
            )
        specs = function.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise RequestError(
                "INVALID_ARGUMENT",
                f"input keys do not match model inputs. Received: {sorted(inputs)}, "
                f"the model takes {sorted(specs)}",
            )
        try:
            # Like a session, a loaded signature leaves the check of shapes to the graph.
            with self._semaphore:
                outputs = function(
                    **{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
                )
        except tf.errors.OpError as error:
            raise RequestError(_CODES[error.error_code].name, error.message) from error
        except (TypeError, ValueError) as error:
            raise RequestError("INVALID_ARGUMENT", str(error)) from error
        return {key: value.numpy() for key, value in outputs.items()}


class SingleModel(ModelRepository):
    """One model, a directory with its versions, loaded at construction."""

    def __init__(self, path: pathlib.Path, parallel: int = 2):
        super().__init__(path, parallel)
        self._versions = _load_versions(path)

    def versions(self, name: str) -> dict[int, Any]:
        """See `ModelRepository.versions`."""
        return self._versions if name == self.name else {}


class ModelFolder(ModelRepository):
    """A folder of models, each loaded at its first request; models may be added later."""

    def __init__(self, path: pathlib.Path, parallel: int = 2):
        super().__init__(path, parallel)
        self._load = functools.cache(_load_versions)

    def versions(self, name: str) -> dict[int, Any]:
        """See `ModelRepository.versions`."""
        return self._load(self.path / name) if (self.path / name).is_dir() else {}


def _load_versions(path: pathlib.Path) -> dict[int, Any]:
    numbers = sorted(int(folder.name) for folder in path.iterdir() if folder.name.isdigit())
    return {number: tf.saved_model.load(str(path / str(number))) for number in numbers}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The gRPC API."""

    def __init__(self, repository: ModelRepository):
        self._repository = repository

    def Predict(  # the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Answers a prediction request."""
        spec = request.model_spec
        number = spec.version.value if spec.HasField("version") else None
        try:
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            outputs = self._repository.predict(spec.name, number, spec.signature_name, inputs)
            wanted = list(request.output_filter) or list(outputs)
            if missing := set(wanted) - set(outputs):
                text = f"output tensor alias not found in signature: {missing.pop()}"
                raise RequestError("INVALID_ARGUMENT", text)
        except RequestError as error:
            context.abort(grpc.StatusCode[error.code], str(error))
        response = predict_pb2.PredictResponse(model_spec=spec)
        for key in wanted:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        return response


class Handler(http.server.BaseHTTPRequestHandler):
    """The REST API."""

    repository: ModelRepository
    wbufsize = -1  # one write per answer: a second one would wait for an acknowledgement

    def do_GET(self) -> None:
        """Answers with the model's status or, for /metadata, its signatures."""
        try:
            name, number, suffix = self._parse_path()
            if suffix == ":predict":
                raise RequestError("INVALID_ARGUMENT", f"Malformed request: GET {self.path}")
            signatures = self.repository.version(name, number).signatures
            if suffix:
                return self._answer(200, {"metadata": {"signature_def": list(signatures)}})
            numbers = [number] if number else self.repository.versions(name)
            status = {"error_code": "OK", "error_message": ""}
            states = [{"version": str(x), "state": "AVAILABLE", "status": status} for x in numbers]
            self._answer(200, {"model_version_status": states})
        except RequestError as error:
            self._send_error(error)

    def do_POST(self) -> None:
        """Answers a prediction request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            name, number, suffix = self._parse_path()
            if suffix != ":predict":
                raise RequestError("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
            self._answer(200, self._predict(name, number, body))
        except RequestError as error:
            self._send_error(error)

    def _parse_path(self) -> tuple[str, int | None, str | None]:
        found = _PATH.fullmatch(self.path)
        if not found:
            raise RequestError("INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}")
        return found[1], int(found[2]) if found[2] else None, found[3]

    def _predict(self, name: str, number: int | None, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
            rows, columns = "instances" in request, "inputs" in request
        except (TypeError, ValueError) as error:
            raise RequestError("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
        if rows == columns:
            text = "Request must hold one of 'instances' and 'inputs'"
            raise RequestError("INVALID_ARGUMENT", f"JSON Parse error: {text}")
        signature = request.get("signature_name", "serving_default")
        value = _decode_json(request["instances" if rows else "inputs"])
        function = self.repository.version(name, number).signatures.get(signature)
        keys = sorted(function.structured_input_signature[1]) if function else [""]
        if rows and isinstance(value, list) and value and isinstance(value[0], dict):
            inputs = {key: [row[key] for row in value] for key in value[0]}
        else:
            inputs = value if isinstance(value, dict) else {keys[0]: value}
        outputs = self.repository.predict(name, number, signature, inputs)
        values = {key: _encode_json(key, output) for key, output in outputs.items()}
        if len(values) == 1:
            return {"predictions" if rows else "outputs": values.popitem()[1]}
        if not rows:
            return {"outputs": values}
        return {
            "predictions": [
                dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)
            ]
        }

    def _send_error(self, error: RequestError) -> None:
        self._answer(_HTTP.get(error.code, 500), {"error": str(error)})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Logs nothing: clients report errors."""


def _decode_json(value: Any) -> Any:
    """Replaces the objects that stand for bytes in JSON by the bytes."""
    if isinstance(value, dict):
        if set(value) == {"b64"}:
            try:
                return base64.b64decode(value["b64"], validate=True)
            except (TypeError, ValueError) as error:
                raise RequestError(
                    "INVALID_ARGUMENT", f"JSON Value is not base64: {error}"
                ) from error
        return {key: _decode_json(one) for key, one in value.items()}
    return [_decode_json(one) for one in value] if isinstance(value, list) else value


def _encode_json(key: str, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_encode_json(key, one) for one in value]
    if isinstance(value, bytes):
        is_binary = key.endswith("_bytes")
        return {"b64": base64.b64encode(value).decode()} if is_binary else value.decode()
    return value.tolist()


class _HttpServer(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5 the sixth client would wait a second


class Server:
    """Both protocols on ports of the loopback device; a context manager that stops the server.

    Args:
      repository: the models.
      grpc_port: port for gRPC; 0 chooses a free one.
      rest_port: port for REST; 0 chooses a free one.
    """

    def __init__(self, repository: ModelRepository, grpc_port: int = 0, rest_port: int = 0):
        sizes = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(max_workers=32), options=[(size, -1) for size in sizes]
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(repository), self._grpc
        )
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
        handler = type("Handler", (Handler,), {"repository": repository})
        self._rest = _HttpServer(("127.0.0.1", rest_port), handler)
        self.rest_port = self._rest.server_port
        self.grpc = f"grpc://127.0.0.1:{self.grpc_port}/{repository.name}"
        self.rest = f"http://127.0.0.1:{self.rest_port}/v1/models/{repository.name}"

    def __enter__(self) -> "Server":
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._grpc.stop(None).wait()
        self._rest.shutdown()
        self._rest.server_close()


def main(_: Any) -> None:
    """Prints the two addresses and serves until the process is ended."""
    with Server(SingleModel(pathlib.Path(flags.FLAGS.model), flags.FLAGS.parallel)) as server:
        print(server.grpc, server.rest, flush=True)
        threading.Event().wait()


if __name__ == "__main__":  # tests import this module beside others with such flags
    flags.DEFINE_string(
        "model", None, "Directory of a model, which contains its versions.", required=True
    )
    flags.DEFINE_integer("parallel", 2, "Number of requests that run at the same time.", 1)
    flags.DEFINE_alias("at_once", "parallel")  # old name
    app.run(main)
