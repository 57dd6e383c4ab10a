"""TensorFlow Serving's two protocols in Python, for tests and measurements on this machine.

    python benchmarks/loopback_server.py --model=models/hog

runs the signatures of an exported model, as the official server does, and answers gRPC's
PredictionService and the REST API with that server's own protocol buffers, statuses and error
texts. It neither batches nor guards itself: it is for clients that one trusts.
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


class Failure(Exception):
    """What a request is answered instead of outputs: a name of gRPC's statuses, and a text."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Models(abc.ABC):
    """What can be asked.

    Args:
      path: where it lies; its name is the server's in an address.
      at_once: requests that run at the same time; others wait their turn.
    """

    def __init__(self, path: pathlib.Path, at_once: int = 2):
        self.path, self.name = path, path.name
        self._turn = threading.Semaphore(at_once)

    @abc.abstractmethod
    def versions(self, name: str) -> dict[int, Any]:
        """The SavedModels of a model by number, of which the largest answers; none of no model."""

    def version(self, name: str, number: int | None) -> Any:
        """The SavedModel that a request names."""
        versions = self.versions(name)
        if not versions or (number is not None and number not in versions):
            wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise Failure("NOT_FOUND", f"Servable not found for request: {wanted}")
        return versions[max(versions) if number is None else number]

    def predict(
        self, name: str, number: int | None, signature: str, inputs: dict[str, Any]
    ) -> dict[str, np.ndarray]:
        """Outputs of one request, by name."""
        function = self.version(name, number).signatures.get(signature or "serving_default")
        if function is None:
            raise Failure("INVALID_ARGUMENT", f'Serving signature name: "{signature}" not found')
        specs = function.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise Failure(
                "INVALID_ARGUMENT",
                f"input keys do not match model inputs. Received: {sorted(inputs)}, "
                f"the model takes {sorted(specs)}",
            )
        try:
            # Pruned to the tensors, as a session's, so that shapes are left to the graph.
            with self._turn:
                outputs = function(
                    **{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
                )
        except tf.errors.OpError as error:
            raise Failure(_CODES[error.error_code].name, error.message) from error
        except (TypeError, ValueError) as error:
            raise Failure("INVALID_ARGUMENT", str(error)) from error
        return {key: value.numpy() for key, value in outputs.items()}


class Servable(Models):
    """One model, loaded when this is made: a directory with its versions."""

    def __init__(self, path: pathlib.Path, at_once: int = 2):
        super().__init__(path, at_once)
        self._versions = _loaded(path)

    def versions(self, name: str) -> dict[int, Any]:
        """Of the one model."""
        return self._versions if name == self.name else {}


class Folder(Models):
    """Models beside each other, each loaded when it is first asked for; none need be there yet."""

    def __init__(self, path: pathlib.Path, at_once: int = 2):
        super().__init__(path, at_once)
        self._loaded = functools.cache(_loaded)

    def versions(self, name: str) -> dict[int, Any]:
        """Of one of them."""
        return self._loaded(self.path / name) if (self.path / name).is_dir() else {}


def _loaded(path: pathlib.Path) -> dict[int, Any]:
    numbers = sorted(int(folder.name) for folder in path.iterdir() if folder.name.isdigit())
    return {number: tf.saved_model.load(str(path / str(number))) for number in numbers}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The gRPC side."""

    def __init__(self, servable: Models):
        self._servable = servable

    def Predict(  # the protocol's name
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """One request."""
        spec = request.model_spec
        number = spec.version.value if spec.HasField("version") else None
        try:
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            outputs = self._servable.predict(spec.name, number, spec.signature_name, inputs)
            wanted = list(request.output_filter) or list(outputs)
            if missing := set(wanted) - set(outputs):
                text = f"output tensor alias not found in signature: {missing.pop()}"
                raise Failure("INVALID_ARGUMENT", text)
        except Failure as failure:
            context.abort(grpc.StatusCode[failure.code], str(failure))
        response = predict_pb2.PredictResponse(model_spec=spec)
        for key in wanted:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        return response


class Handler(http.server.BaseHTTPRequestHandler):
    """The REST side."""

    servable: Models
    wbufsize = -1  # an answer is one write, or its second half would wait for an acknowledgement

    def do_GET(self) -> None:
        """The model's status, or with /metadata something of what it takes."""
        try:
            name, number, asked = self._path()
            if asked == ":predict":
                raise Failure("INVALID_ARGUMENT", f"Malformed request: GET {self.path}")
            signatures = self.servable.version(name, number).signatures
            if asked:
                return self._answer(200, {"metadata": {"signature_def": list(signatures)}})
            numbers = [number] if number else self.servable.versions(name)
            status = {"error_code": "OK", "error_message": ""}
            states = [{"version": str(x), "state": "AVAILABLE", "status": status} for x in numbers]
            self._answer(200, {"model_version_status": states})
        except Failure as failure:
            self._refuse(failure)

    def do_POST(self) -> None:
        """A prediction."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            name, number, asked = self._path()
            if asked != ":predict":
                raise Failure("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
            self._answer(200, self._predict(name, number, body))
        except Failure as failure:
            self._refuse(failure)

    def _path(self) -> tuple[str, int | None, str | None]:
        found = _PATH.fullmatch(self.path)
        if not found:
            raise Failure("INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}")
        return found[1], int(found[2]) if found[2] else None, found[3]

    def _predict(self, name: str, number: int | None, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
            rows, columns = "instances" in request, "inputs" in request
        except (TypeError, ValueError) as error:
            raise Failure("INVALID_ARGUMENT", f"JSON Parse error: {error}") from error
        if rows == columns:
            text = "Request must hold one of 'instances' and 'inputs'"
            raise Failure("INVALID_ARGUMENT", f"JSON Parse error: {text}")
        signature = request.get("signature_name", "serving_default")
        value = _plain(request["instances" if rows else "inputs"])
        function = self.servable.version(name, number).signatures.get(signature)
        keys = sorted(function.structured_input_signature[1]) if function else [""]
        if rows and isinstance(value, list) and value and isinstance(value[0], dict):
            inputs = {key: [row[key] for row in value] for key in value[0]}
        else:
            inputs = value if isinstance(value, dict) else {keys[0]: value}
        outputs = self.servable.predict(name, number, signature, inputs)
        values = {key: _json(key, output) for key, output in outputs.items()}
        if len(values) == 1:
            return {"predictions" if rows else "outputs": values.popitem()[1]}
        if not rows:
            return {"outputs": values}
        return {
            "predictions": [
                dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)
            ]
        }

    def _refuse(self, failure: Failure) -> None:
        self._answer(_HTTP.get(failure.code, 500), {"error": str(failure)})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: clients say what fails."""


def _plain(value: Any) -> Any:
    """JSON without its objects for bytes."""
    if isinstance(value, dict):
        if set(value) == {"b64"}:
            try:
                return base64.b64decode(value["b64"], validate=True)
            except (TypeError, ValueError) as error:
                raise Failure("INVALID_ARGUMENT", f"JSON Value is no base64: {error}") from error
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _json(key: str, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [_json(key, one) for one in value]
    if isinstance(value, bytes):
        is_binary = key.endswith("_bytes")
        return {"b64": base64.b64encode(value).decode()} if is_binary else value.decode()
    return value.tolist()


class _HttpServer(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # five would make the sixth client wait a second


class Server:
    """Both protocols on free ports of the loopback device; as a context it stops at its end.

    Args:
      servable: what answers.
      grpc_port: of gRPC; 0 takes a free one.
      rest_port: of REST, likewise.
    """

    def __init__(self, servable: Models, grpc_port: int = 0, rest_port: int = 0):
        sizes = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
        self._grpc = grpc.server(
            futures.ThreadPoolExecutor(max_workers=32), options=[(size, -1) for size in sizes]
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(servable), self._grpc
        )
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
        handler = type("Handler", (Handler,), {"servable": servable})
        self._rest = _HttpServer(("127.0.0.1", rest_port), handler)
        self.rest_port = self._rest.server_port
        self.grpc = f"grpc://127.0.0.1:{self.grpc_port}/{servable.name}"
        self.rest = f"http://127.0.0.1:{self.rest_port}/v1/models/{servable.name}"

    def __enter__(self) -> "Server":
        self._grpc.start()
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._grpc.stop(None).wait()
        self._rest.shutdown()
        self._rest.server_close()


def main(_: Any) -> None:
    """Prints the two addresses, and serves until it is ended."""
    with Server(Servable(pathlib.Path(flags.FLAGS.model), flags.FLAGS.at_once)) as server:
        print(server.grpc, server.rest, flush=True)
        threading.Event().wait()


if __name__ == "__main__":  # tests import this beside others that have such flags
    flags.DEFINE_string("model", None, "A model's directory, which holds versions.", required=True)
    flags.DEFINE_integer("at_once", 2, "Requests that run at the same time.", 1)
    app.run(main)
