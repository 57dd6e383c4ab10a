"""Measures the serving of an exported inverter: overhead, throughput, latency and memory.

    python benchmarks/serving.py --inverter=hog-64

prints the time of the served functions for batches of 32, relative to calling feature and network
directly; and, for 1, 4 and 16 clients that each send one request after the other, requests per
second, median and 99th percentile of the latency, and memory

- of the C program (tests/serving/c_runtime.c), which uses TensorFlow's C API only;
- of the loopback server (benchmarks/loopback_server.py), over gRPC and over REST, with
  `tfinvert.serving.client`.

--parallel requests run at the same time and the others wait in the order of arrival, as with
`num_batch_threads` in export/batching.config.
"""

import tfinvert  # isort: skip  # before TensorFlow, for which it sets variables

import concurrent.futures
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import c_program
import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from tfinvert.commands import runtime
from tfinvert.data.photos import load_photograph
from tfinvert.inverter import Inverter
from tfinvert.serving import export_savedmodel
from tfinvert.serving.client import Client

_INVERTER = flags.DEFINE_string(
    "inverter", "hog-64", "Inverter to export: a shipped name or a directory."
)
_SECONDS = flags.DEFINE_float("seconds", 5.0, "Duration of each measurement, in seconds.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Repetitions of the comparison of times.", 1)
_CLIENTS = flags.DEFINE_list("clients", [1, 4, 16], "Numbers of concurrent clients.")
_PARALLEL = flags.DEFINE_integer(
    "parallel", os.cpu_count(), "Requests that run at the same time; default: CPU cores.", 1
)
flags.DEFINE_alias("at_once", "parallel")  # old name
BATCH = 32


def make_thumbnails(size: tuple[int, int]) -> np.ndarray:
    """Returns resized crops of a photograph: uint8 `[32, *size, 3]`."""
    image = Image.fromarray(load_photograph("astronaut"))
    boxes = [(8 * i, 4 * i, 8 * i + 256, 4 * i + 256) for i in range(BATCH)]
    return np.stack([image.resize(size[::-1], box=box) for box in boxes])


def encode_jpegs(images: np.ndarray) -> list[bytes]:
    """Encodes images as JPEG files."""
    return [tf.io.encode_jpeg(image, quality=90).numpy() for image in images]


def measure_overhead(inverter: Inverter, model: pathlib.Path) -> Iterator[str]:
    """Yields rows with the times of served functions, each between two of a direct call."""
    size = inverter.feature.image_shape[:2]
    pixels = make_thumbnails(size)
    images = tf.constant(pixels.astype(np.float32) / 255)
    files = tf.constant(encode_jpegs(pixels))
    spec = tf.TensorSpec((None, *size, 3), tf.float32)
    reconstruct = tf.function(inverter.decoder.reconstruct, input_signature=[spec])
    served = tf.saved_model.load(str(model)).signatures

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def reconstruct_files(files: tf.Tensor) -> tf.Tensor:
        pixels = tf.map_fn(tf.io.decode_jpeg, files, fn_output_signature=tf.uint8)
        images = tf.ensure_shape(tf.cast(pixels, tf.float32) / 255, spec.shape)
        images = inverter.decoder.reconstruct(images)
        return tf.map_fn(
            tf.io.encode_png, tf.cast(255 * images, tf.uint8), fn_output_signature=tf.string
        )

    def serve_images() -> object:
        return served["serving_default"](images=images)

    def serve_files() -> object:
        return served["reconstruct_bytes"](image_bytes=files)

    for name, call, direct_call in (
        ("`serving_default` ÷ direct call", serve_images, lambda: reconstruct(images)),
        ("`reconstruct_bytes` ÷ direct call", serve_files, lambda: reconstruct(images)),
        (
            "`reconstruct_bytes` ÷ decoding, direct call, encoding",
            serve_files,
            lambda: reconstruct_files(files),
        ),
    ):
        direct_times, times = [_median_seconds(direct_call)], []
        for _ in range(_ROUNDS.value):
            times.append(_median_seconds(call))
            direct_times.append(_median_seconds(direct_call))
        triples = zip(times, direct_times, direct_times[1:], strict=False)
        ratio = statistics.median(2 * t / (before + after) for t, before, after in triples)
        cells = (1e3 * statistics.median(direct_times), 1e3 * statistics.median(times))
        yield f"| {name} | {cells[0]:.0f} ms | {cells[1]:.0f} ms | {ratio:.2f} |"


def _median_seconds(call: Callable[[], object]) -> float:
    """Returns the median time of a call over one round of a measurement."""
    call()
    times, end = [], time.perf_counter() + _SECONDS.value / _ROUNDS.value
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@contextlib.contextmanager
def run_loopback_server(model: pathlib.Path) -> Iterator[tuple[str, str, int]]:
    """Runs the loopback server in a new process; yields its two addresses and the process id."""
    script = pathlib.Path(__file__).with_name("loopback_server.py")
    process = subprocess.Popen(
        [sys.executable, script, f"--model={model}", f"--parallel={_PARALLEL.value}"],
        stdout=subprocess.PIPE,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
    )
    try:
        grpc, rest = process.stdout.readline().split()
        yield grpc, rest, process.pid
    finally:
        process.terminate()
        process.communicate()


def measure_latency(client: Client, value: bytes | np.ndarray, clients: int) -> np.ndarray:
    """Returns the seconds of each request of concurrent threads."""

    def send_until(end: float) -> list[float]:
        times = []
        while (begin := time.perf_counter()) < end:
            client.reconstruct([value])
            times.append(time.perf_counter() - begin)
        return times

    send_until(time.perf_counter() + 0.5)  # the first requests are slower
    end = time.perf_counter() + _SECONDS.value
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return np.concatenate([*pool.map(send_until, [end] * clients)])


def _format_row(server: str, clients: int, times: np.ndarray, gigabytes: float) -> str:
    median, p99 = 1e3 * np.median(times), 1e3 * np.percentile(times, 99)
    return (
        f"| {server} | {clients} | {len(times) / _SECONDS.value:.0f} | {median:.1f} ms | "
        f"{p99:.1f} ms | {p99 / median:.2f} | {gigabytes:.2f} GB |"
    )


def measure_load(inverter: Inverter, folder: pathlib.Path, model: pathlib.Path) -> Iterator[str]:
    """Yields rows for concurrent clients with one file per request."""
    (file,) = encode_jpegs(make_thumbnails(inverter.feature.image_shape[:2])[:1])
    counts = [int(count) for count in _CLIENTS.value]
    if c_program.compiler():
        program = c_program.build(folder)
        request = c_program.encode_request(model, "reconstruct_bytes", file, "png_bytes")
        for clients in counts:
            latencies, memory = c_program.measure_load(
                program, model, request, clients, _PARALLEL.value, _SECONDS.value
            )
            yield _format_row("C program", clients, latencies, memory)
    with run_loopback_server(model.parent) as (grpc, rest, process):
        for name, address in (("loopback, gRPC", grpc), ("loopback, REST", rest)):
            client = Client(address)
            for clients in counts:
                latencies = measure_latency(client, file, clients)
                yield _format_row(name, clients, latencies, c_program.peak_memory(process))


def main() -> None:
    """Prints the two tables."""
    inverter = tfinvert.load(_INVERTER.value)
    height, width = inverter.feature.image_shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        model = export_savedmodel(inverter, pathlib.Path(folder, "model"))
        print(f"{_INVERTER.value}, batches of {BATCH} images of {width}×{height} pixels")
        print("| comparison | direct | served | ratio |\n| --- | --- | --- | --- |")
        for row in measure_overhead(inverter, model):
            print(row, flush=True)
        print(f"\none JPEG of {width}×{height} pixels per request, {_PARALLEL.value} in parallel")
        print("| server | clients | requests/s | median | p99 | p99 ÷ median | memory |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for row in measure_load(inverter, pathlib.Path(folder), model):
            print(row, flush=True)


if __name__ == "__main__":
    runtime.run(main)
