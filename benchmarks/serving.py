"""How an exported inverter is served under load, on this machine.

    python benchmarks/serving.py --inverter=hog-64

prints, of batches of 32, what the served functions cost beside the bare call of feature and
network; and, for 1, 4 and 16 clients who each send one request after the other, requests a second,
median and 99th percentile of the time to an answer, and memory

- of the C program (tests/serving/c_runtime.c), TensorFlow's C API alone;
- of the loopback server (benchmarks/loopback_server.py) by gRPC and by REST, asked by
  `tfinvert.serving.client`.

As many requests run at once as --at_once says, and the others wait in the order of their arrival:
as `num_batch_threads` of export/batching.config has it.
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

_INVERTER = flags.DEFINE_string("inverter", "hog-64", "What is exported and served.")
_SECONDS = flags.DEFINE_float("seconds", 5.0, "For each measurement.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of the comparison with the bare call.", 1)
_CLIENTS = flags.DEFINE_list("clients", [1, 4, 16], "How many at the same time.")
_AT_ONCE = flags.DEFINE_integer("at_once", os.cpu_count(), "Requests that run at once.", 1)
BATCH = 32


def thumbnails(size: tuple[int, int]) -> np.ndarray:
    """Crops of a photograph, reduced to a size: uint8 `[32, *size, 3]`."""
    image = Image.fromarray(load_photograph("astronaut"))
    boxes = [(8 * i, 4 * i, 8 * i + 256, 4 * i + 256) for i in range(BATCH)]
    return np.stack([image.resize(size[::-1], box=box) for box in boxes])


def jpegs(images: np.ndarray) -> list[bytes]:
    """Files of images."""
    return [tf.io.encode_jpeg(image, quality=90).numpy() for image in images]


def overhead(inverter: Inverter, model: pathlib.Path) -> Iterator[str]:
    """Rows: the served functions beside the bare call, each between two runs of that."""
    size = inverter.feature.image_shape[:2]
    pixels = thumbnails(size)
    images = tf.constant(pixels.astype(np.float32) / 255)
    files = tf.constant(jpegs(pixels))
    spec = tf.TensorSpec((None, *size, 3), tf.float32)
    bare = tf.function(inverter.rebuild, input_signature=[spec])
    served = tf.saved_model.load(str(model)).signatures

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def plain(files: tf.Tensor) -> tf.Tensor:
        pixels = tf.map_fn(tf.io.decode_jpeg, files, fn_output_signature=tf.uint8)
        images = inverter.rebuild(tf.ensure_shape(tf.cast(pixels, tf.float32) / 255, spec.shape))
        return tf.map_fn(
            tf.io.encode_png, tf.cast(255 * images, tf.uint8), fn_output_signature=tf.string
        )

    def by_array() -> object:
        return served["serving_default"](images=images)

    def by_file() -> object:
        return served["reconstruct_bytes"](image_bytes=files)

    for name, call, base in (
        ("`serving_default` ÷ bare call", by_array, lambda: bare(images)),
        ("`reconstruct_bytes` ÷ bare call", by_file, lambda: bare(images)),
        ("`reconstruct_bytes` ÷ decode, bare call, encode", by_file, lambda: plain(files)),
    ):
        around, times = [_seconds(base)], []
        for _ in range(_ROUNDS.value):
            times.append(_seconds(call))
            around.append(_seconds(base))
        pairs = zip(times, around, around[1:], strict=False)
        ratio = statistics.median(2 * t / (before + after) for t, before, after in pairs)
        cells = (1e3 * statistics.median(around), 1e3 * statistics.median(times))
        yield f"| {name} | {cells[0]:.0f} ms | {cells[1]:.0f} ms | {ratio:.2f} |"


def _seconds(call: Callable[[], object]) -> float:
    """The median time of a call over a part of the time of a measurement."""
    call()
    times, end = [], time.perf_counter() + _SECONDS.value / _ROUNDS.value
    while time.perf_counter() < end or len(times) < 3:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@contextlib.contextmanager
def loopback(model: pathlib.Path) -> Iterator[tuple[str, str, int]]:
    """The loopback server in a process of its own: its two addresses and the process."""
    script = pathlib.Path(__file__).with_name("loopback_server.py")
    process = subprocess.Popen(
        [sys.executable, script, f"--model={model}", f"--at_once={_AT_ONCE.value}"],
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


def asked(client: Client, value: bytes | np.ndarray, clients: int) -> np.ndarray:
    """Seconds of each request that so many threads sent, one after the other each."""

    def ask(end: float) -> list[float]:
        times = []
        while (begin := time.perf_counter()) < end:
            client.reconstruct([value])
            times.append(time.perf_counter() - begin)
        return times

    ask(time.perf_counter() + 0.5)  # the first are slower
    end = time.perf_counter() + _SECONDS.value
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        return np.concatenate([*pool.map(ask, [end] * clients)])


def _row(what: str, clients: int, times: np.ndarray, gigabytes: float) -> str:
    median, late = 1e3 * np.median(times), 1e3 * np.percentile(times, 99)
    return (
        f"| {what} | {clients} | {len(times) / _SECONDS.value:.0f} | {median:.1f} ms | "
        f"{late:.1f} ms | {late / median:.2f} | {gigabytes:.2f} GB |"
    )


def under_load(inverter: Inverter, folder: pathlib.Path, model: pathlib.Path) -> Iterator[str]:
    """Rows: one file a request, from several clients."""
    (file,) = jpegs(thumbnails(inverter.feature.image_shape[:2])[:1])
    counts = [int(count) for count in _CLIENTS.value]
    if c_program.compiler():
        program = c_program.build(folder)
        sent = c_program.request(model, "reconstruct_bytes", file, "png_bytes")
        for clients in counts:
            measured = c_program.load(program, model, sent, clients, _AT_ONCE.value, _SECONDS.value)
            yield _row("C program", clients, *measured)
    with loopback(model.parent) as (grpc, rest, process):
        for name, address in (("loopback, gRPC", grpc), ("loopback, REST", rest)):
            client = Client(address)
            for clients in counts:
                times = asked(client, file, clients)
                yield _row(name, clients, times, c_program.peak_memory(process))


def main() -> None:
    """Prints the two tables."""
    inverter = tfinvert.load(_INVERTER.value)
    height, width = inverter.feature.image_shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        model = export_savedmodel(inverter, pathlib.Path(folder, "model"))
        print(f"{_INVERTER.value}, batches of {BATCH} images of {width}×{height}")
        print("| of a batch | below | above | ratio |\n| --- | --- | --- | --- |")
        for row in overhead(inverter, model):
            print(row, flush=True)
        print(f"\none JPEG of {width}×{height} a request, {_AT_ONCE.value} at once")
        print("| server | clients | requests/s | median | p99 | p99 ÷ median | memory |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for row in under_load(inverter, pathlib.Path(folder), model):
            print(row, flush=True)


if __name__ == "__main__":
    runtime.run(main)
