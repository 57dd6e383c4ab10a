"""The client and TensorFlow Serving's two protocols, over real sockets on the loopback device."""

import base64
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import loopback_server
import numpy as np
import pytest
import tensorflow as tf

from tfinvert.serving import client as client_module
from tfinvert.serving.client import Client

KINDS = ("grpc", "rest")


@pytest.fixture(scope="module")
def repository(model):
    return loopback_server.SingleModel(model.parent)


@pytest.fixture(scope="module")
def server(repository):
    with loopback_server.Server(repository) as server:
        yield server


@pytest.fixture(scope="module")
def any_size_server(any_size_model):
    with loopback_server.Server(loopback_server.SingleModel(any_size_model.parent)) as server:
        yield server


@pytest.fixture
def images(photo):
    return np.stack([photo, photo[:, ::-1], photo[::-1]]).astype(np.float32) / 255


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_gives_the_same_answers_as_a_directory(server, client, inverter, images, kind):
    remote = Client(getattr(server, kind), batch=2)  # in two requests
    files = [tf.io.encode_png(np.uint8(255 * image)).numpy() for image in images]
    assert remote.reconstruct(files) == client.reconstruct(files)
    found = remote.reconstruct(images)
    np.testing.assert_allclose(found, inverter.reconstruct(images), atol=1e-5)
    features = inverter.feature(images).numpy()
    np.testing.assert_allclose(remote.invert(features), client.invert(features), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_several_sizes(any_size_server, any_size_client, photo, kind):
    remote, on_disk = Client(getattr(any_size_server, kind)), any_size_client
    files = [tf.io.encode_jpeg(image).numpy() for image in (photo, photo[:50], photo)]
    assert remote.reconstruct(files) == on_disk.reconstruct(files)
    images = [image / np.float32(255) for image in (photo, photo[:50], photo)]
    for found, expected in zip(
        remote.reconstruct(images), on_disk.reconstruct(images), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_is_addressed_by_its_number(server, images, kind):
    address = getattr(server, kind)
    newest = Client(address).reconstruct(images[:1])
    np.testing.assert_array_equal(Client(f"{address}/versions/1").reconstruct(images[:1]), newest)
    with pytest.raises(ValueError, match=r"Servable not found for request: Specific\(hog, 7\)"):
        Client(f"{address}/versions/7").reconstruct(images[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_rejected_request_is_reported_and_not_retried(server, images, kind, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("retried"))
    client = Client(getattr(server, kind))
    with pytest.raises(ValueError, match="rejects the image_bytes.*must each hold a JPEG or PNG"):
        client.reconstruct([b"not an image"])
    with pytest.raises(ValueError, match=r"rejects the images.*must hold numbers in \[0, 1\]"):
        client.reconstruct(images + np.nan)
    with pytest.raises(ValueError, match="Servable not found for request"):
        Client(getattr(server, kind).replace("hog", "lbp")).reconstruct(images)


@pytest.mark.parametrize("kind", KINDS)
def test_the_client_waits_for_a_server_that_starts_late(server, repository, client, images, kind):
    port = free_port()
    address = getattr(server, kind).replace(str(getattr(server, f"{kind}_port")), str(port))
    started = []

    def start():
        late = loopback_server.Server(repository, **{f"{kind}_port": port})
        started.append(late.__enter__())

    timer = threading.Timer(0.5, start)
    timer.start()
    try:
        (found,) = Client(address, attempts=20).reconstruct(images[:1])
    finally:
        timer.join()
        started[0].__exit__()
    np.testing.assert_allclose(found, client.reconstruct(images[:1])[0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_server_is_a_connection_error_after_all_attempts(server, images, kind):
    address = getattr(server, kind).replace(str(getattr(server, f"{kind}_port")), str(free_port()))
    with pytest.raises(ConnectionError, match="did not answer in 2 attempts: .*refused"):
        Client(address, attempts=2).reconstruct(images)


@pytest.mark.parametrize("scheme", ["grpc://{}/hog", "http://{}/v1/models/hog"])
def test_a_silent_server_is_a_timeout(images, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = scheme.format(f"127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="did not answer within 0.5 s"):
            Client(address, deadline=0.5).reconstruct(images)
        assert time.monotonic() - begin < 5


def fixed_answer(status, body, pause=0.0):
    """Starts a server with one answer to every request; with a pause it sends single bytes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.requests += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                for i in range(len(body)) if pause else ():
                    self.wfile.write(body[i : i + 1])
                    time.sleep(pause)
                self.wfile.write(b"" if pause else body)
            except OSError:
                pass  # the client has closed the connection

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.daemon_threads = 0, True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/v1/models/hog"


@pytest.mark.parametrize(
    ("status", "body", "error", "message", "requests"),
    [
        (503, b'{"error": "queue is full"}', ConnectionError, "3 attempts: HTTP 503: queue is", 3),
        (429, b"<p>slowly</p>", ConnectionError, "HTTP 429: <p>slowly</p>", 3),
        (400, b'{"error": "no such"}', ValueError, "rejects the images: HTTP 400: no such", 1),
        (200, b"<html>", ValueError, "is not that of TensorFlow Serving", 1),
        (200, b'{"predictions": []}', ValueError, "returned 0 values for 3 images", 1),
        (200, b'{"outputs": 1}', ValueError, "is not that of TensorFlow Serving", 1),
    ],
)
def test_other_answers_of_http(images, status, body, error, message, requests):
    server, address = fixed_answer(status, body)
    with server:
        with pytest.raises(error, match=message):
            Client(address, attempts=3).reconstruct(images)
        assert server.requests == requests
        server.shutdown()


def test_a_slow_answer_is_a_timeout(images):
    server, address = fixed_answer(200, bytes(1000), pause=0.05)
    with server:
        with pytest.raises(TimeoutError, match="did not answer within 0.3 s"):
            Client(address, deadline=0.3).reconstruct(images)
        server.shutdown()


def test_threads_share_a_client(server, client, images):
    remote, found = Client(server.grpc), {}
    threads = [
        threading.Thread(
            target=lambda i=i: found.update({i: remote.reconstruct(images[i : i + 1])})
        )
        for i in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, expected in enumerate(client.reconstruct(images)):
        np.testing.assert_allclose(found[i][0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("address", "options", "message"),
    [
        ("http://localhost:8501/hog", {}, "the address must be a SavedModel's directory, http://"),
        ("grpc://localhost:8500", {}, "the address must be"),
        ("ftp://localhost/hog", {}, "the address must be"),
        ("grpc://localhost:8500/hog", {"deadline": 0}, "deadline must be above 0"),
        ("grpc://localhost:8500/hog", {"batch": 0}, "Received: 60.0, 6, 0"),
    ],
)
def test_wrong_arguments_are_rejected(address, options, message):
    with pytest.raises(ValueError, match=message):
        Client(address, **options)


def test_images_that_are_neither_files_nor_images_are_rejected(server, photo):
    client = Client(server.rest)
    with pytest.raises(ValueError, match="Received: int64"):
        client.reconstruct([photo.astype(np.int64)])
    with pytest.raises(ValueError, match="Received: both"):
        client.reconstruct([photo / 255, b"file"])


def test_rest_requires_neither_tensorflow_nor_keras(server, photo, tmp_path):
    (tmp_path / "photo.png").write_bytes(tf.io.encode_png(photo).numpy())
    code = (
        "import sys\nsys.modules['tensorflow'] = None\n"
        f"import runpy\nrunpy.run_path({client_module.__file__!r}, run_name='__main__')"
    )
    arguments = [server.rest, tmp_path / "photo.png", tmp_path / "out.png"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out.png'}: 64x64 pixels\n"


def test_other_encodings_and_closed_pipes(photo, tmp_path):
    png = tf.io.encode_png(photo).numpy()
    answer = {"predictions": [{"b64": base64.b64encode(png).decode()}]}
    server, address = fixed_answer(200, json.dumps(answer).encode())
    (tmp_path / "photo.png").write_bytes(png)
    output = tmp_path / os.fsdecode("猫".encode() + b"\xe9.png")
    command = [sys.executable, client_module.__file__, address, tmp_path / "photo.png", output]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(rb"\u732b\udce9.png: 64x64 pixels" + b"\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
    assert output.read_bytes() == png
    server.shutdown()
    server.server_close()


def test_the_status_of_a_model_is_available(server):
    import urllib.request

    with urllib.request.urlopen(server.rest) as answer:
        assert b'"state": "AVAILABLE"' in answer.read()
