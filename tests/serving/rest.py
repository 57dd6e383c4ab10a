"""What a model server does with a request by REST, as far as the documents ask one.

It is no TensorFlow Serving, which is a program of its own, but answers in its row format, from
models that TensorFlow loads and runs. So the documents' requests meet the exported models.
"""

import base64
import contextlib
import functools
import json
import pathlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import tensorflow as tf


@contextlib.contextmanager
def serving(models: pathlib.Path) -> Iterator[str]:
    """host:port of a server of the first version of each model in a folder."""
    loaded = functools.cache(lambda name: tf.saved_model.load(str(models / name / "1")))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            name = re.fullmatch(r"/v1/models/(\w+):predict", self.path)[1]
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps({"predictions": predict(loaded(name), request)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "{}:{}".format(*server.server_address)
        finally:
            server.shutdown()
            thread.join()


def predict(model: Any, request: dict[str, Any]) -> list[Any]:
    """A row an instance: of several outputs by name, of one without."""
    endpoint = model.signatures[request.get("signature_name", "serving_default")]
    ((name, spec),) = endpoint.structured_input_signature[1].items()
    rows = [_decoded(row) for row in request["instances"]]
    outputs = {
        key: x.numpy() for key, x in endpoint(**{name: tf.constant(rows, spec.dtype)}).items()
    }
    encoded = {
        key: [{"b64": base64.b64encode(x).decode()} for x in values]
        if key.endswith("_bytes")
        else values.tolist()
        for key, values in outputs.items()
    }
    if len(encoded) == 1:
        return next(iter(encoded.values()))
    return [dict(zip(encoded, row, strict=True)) for row in zip(*encoded.values(), strict=True)]


def _decoded(row: Any) -> Any:
    return base64.b64decode(row["b64"]) if isinstance(row, dict) else row
