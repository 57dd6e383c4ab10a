"""Drives tests/serving/c_runtime.c, which runs an exported model in a process without Python."""

import itertools
import os
import pathlib
import re
import select
import shutil
import subprocess
import time
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SOURCE = pathlib.Path(__file__).parents[1] / "tests" / "serving" / "c_runtime.c"


def compiler() -> str | None:
    """Returns the path of a C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: pathlib.Path) -> pathlib.Path:
    """Compiles the program into a folder, linked with the libraries of the TensorFlow wheel."""
    libraries, path = tf.sysconfig.get_lib(), folder / "c_runtime"
    command = [compiler(), "-O2", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(path)]
    command += ["-I", tf.sysconfig.get_include(), "-L", libraries, f"-Wl,-rpath,{libraries}"]
    command += ["-pthread", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    subprocess.run(command, check=True)
    return path


def encode_request(
    model: pathlib.Path, endpoint: str, value: Any, output: str, shape: Any = (1,)
) -> bytes:
    """Encodes one request as the program reads it.

    Args:
      model: the directory of a version.
      endpoint: name of the signature.
      value: a float array, or bytes for a tensor of identical strings.
      output: name of the requested output.
      shape: shape of the tensor of strings.
    """
    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def[endpoint]
    (tensor,) = signature.inputs.values()
    if isinstance(value, bytes):
        kind, data = "bytes", value
    else:
        kind, data, shape = "float", np.asarray(value, "<f4").tobytes(), np.shape(value)
    dimensions = ",".join(map(str, shape))
    output_name = signature.outputs[output].name
    return f"{tensor.name} {output_name} {kind}:{dimensions} {len(data)}\n".encode() + data


def peak_memory(process: int) -> float:
    """Returns the peak resident memory of a process so far, in GB (10⁹ bytes); Linux only.

    Raises:
      ConnectionError: the process has ended.
    """
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    match = re.search(r"VmHWM:\s*(\d+) kB", status)
    if not match:
        raise ConnectionError("the program has ended")
    return int(match[1]) * 1024 / 1e9


class Program:
    """The running program with a model; used as a context manager, which ends it."""

    def __init__(self, program: pathlib.Path, model: pathlib.Path):
        self._model = model
        self._process = subprocess.Popen(
            [program, model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        if self._process.wait(60):
            raise RuntimeError(f"the program ended with status {self._process.returncode}")

    def ask(
        self, endpoint: str, value: Any, output: str, shape: Any = (1,), seconds: float = 60.0
    ) -> tuple[bytes | None, str]:
        """Sends a request, see `encode_request`, and returns the bytes of the output.

        Args:
          endpoint: name of the signature.
          value: a float array, or bytes for a tensor of identical strings.
          output: name of the requested output.
          shape: shape of the tensor of strings.
          seconds: time limit.

        Returns:
          The bytes and "", or None and the error message.

        Raises:
          TimeoutError: there was no answer in time; the program is killed.
          ConnectionError: the program has ended.
        """
        end = time.monotonic() + seconds
        try:
            self._process.stdin.write(encode_request(self._model, endpoint, value, output, shape))
            self._process.stdin.flush()
            kind = ""
            while kind not in ("ok", "error"):  # TensorFlow may print other lines
                kind, _, rest = self._read_line(end).partition(" ")
            return (None, rest) if kind == "error" else (self._read(int(rest), end), "")
        except BrokenPipeError as error:
            raise ConnectionError("the program has ended") from error

    def peak_memory(self) -> float:
        """Returns the peak resident memory of the program so far, in GB."""
        return peak_memory(self._process.pid)

    def _read_line(self, end: float) -> str:
        line = b""
        while not line.endswith(b"\n"):
            line += self._read(1, end)
        return line.decode(errors="replace").rstrip("\n")

    def _read(self, size: int, end: float) -> bytes:
        """Reads bytes from the unbuffered pipe; `select` would miss those in a buffer."""
        data, pipe = b"", self._process.stdout.fileno()
        while len(data) < size:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                self._process.kill()
                raise TimeoutError("the program did not answer in time")
            part = os.read(pipe, size - len(data))
            if not part:
                raise ConnectionError(f"the program ended with status {self._process.wait()}")
            data += part
        return data


def measure_load(
    program: pathlib.Path,
    model: pathlib.Path,
    request: bytes,
    clients: int,
    parallel: int,
    seconds: float,
) -> tuple[np.ndarray, float]:
    """Repeats one request from several threads.

    Args:
      program: the compiled program.
      model: the directory of a version.
      request: see `encode_request`.
      clients: number of threads.
      parallel: number of requests that run at the same time.
      seconds: duration of the measurement.

    Returns:
      The latency of each request in seconds, and the peak memory in GB.
    """
    process = subprocess.Popen(
        [program, model, str(clients), str(parallel), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    process.stdin.write(request)
    process.stdin.flush()
    lines = [*itertools.takewhile(lambda line: line != b"end\n", process.stdout)]
    memory = peak_memory(process.pid)
    process.communicate()
    if process.returncode:
        raise RuntimeError(f"the program ended with status {process.returncode}")
    return np.array(lines, float) / 1e6, memory
