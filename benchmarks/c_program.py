"""tests/serving/c_runtime.c: an exported model in a process without Python."""

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
    """A C compiler, where there is one."""
    return shutil.which("cc") or shutil.which("gcc")


def build(folder: pathlib.Path) -> pathlib.Path:
    """Compiles the program into a folder, on the libraries of the TensorFlow wheel."""
    libraries, path = tf.sysconfig.get_lib(), folder / "c_runtime"
    command = [compiler(), "-O2", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(path)]
    command += ["-I", tf.sysconfig.get_include(), "-L", libraries, f"-Wl,-rpath,{libraries}"]
    command += ["-pthread", "-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    subprocess.run(command, check=True)
    return path


def signatures(model: pathlib.Path) -> Any:
    """The signatures of a SavedModel, by name, as protocol buffers."""
    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    return saved.meta_graphs[0].signature_def


def request(
    model: pathlib.Path, endpoint: str, value: Any, output: str, shape: Any = (1,)
) -> bytes:
    """What the program reads: one request.

    Args:
      model: a version's directory.
      endpoint: the signature.
      value: a float array, or bytes for a tensor of strings that are all the same.
      output: which output is wanted.
      shape: of that tensor of strings.
    """
    signature = signatures(model)[endpoint]
    (given,) = signature.inputs.values()
    if isinstance(value, bytes):
        kind, data = "bytes", value
    else:
        kind, data, shape = "float", np.asarray(value, "<f4").tobytes(), np.shape(value)
    dimensions = ",".join(map(str, shape))
    wanted = signature.outputs[output].name
    return f"{given.name} {wanted} {kind}:{dimensions} {len(data)}\n".encode() + data


def peak_memory(process: int) -> float:
    """The most memory that a process has held so far, in GB (10⁹ bytes), on Linux.

    Raises:
      ConnectionError: it has ended.
    """
    found = re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path(f"/proc/{process}/status").read_text())
    if not found:
        raise ConnectionError("the program has ended")
    return int(found[1]) * 1024 / 1e9


class Program:
    """The program with a model, waiting for requests; as a context it ends with it."""

    def __init__(self, program: pathlib.Path, model: pathlib.Path):
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

    def ask(self, sent: bytes, seconds: float = 60.0) -> tuple[bytes | None, str]:
        """The answer to a request: its bytes, or None and what the error says.

        Raises:
          TimeoutError: none came in that time; the program is killed.
          ConnectionError: the program has ended.
        """
        end = time.monotonic() + seconds
        try:
            self._process.stdin.write(sent)
            self._process.stdin.flush()
            kind = ""
            while kind not in ("ok", "error"):  # TensorFlow may have something to say too
                kind, _, rest = self._line(end).partition(" ")
            return (None, rest) if kind == "error" else (self._read(int(rest), end), "")
        except BrokenPipeError as error:
            raise ConnectionError("the program has ended") from error

    def peak_memory(self) -> float:
        """The most memory that it has held so far, in GB."""
        return peak_memory(self._process.pid)

    def _line(self, end: float) -> str:
        found = b""
        while not found.endswith(b"\n"):
            found += self._read(1, end)
        return found.decode(errors="replace").rstrip("\n")

    def _read(self, size: int, end: float) -> bytes:
        """So many bytes; the pipe is not buffered, or `select` would not see what is there."""
        found, pipe = b"", self._process.stdout.fileno()
        while len(found) < size:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                self._process.kill()
                raise TimeoutError("the program did not answer in time")
            part = os.read(pipe, size - len(found))
            if not part:
                raise ConnectionError(f"the program ended with status {self._process.wait()}")
            found += part
        return found


def load(
    program: pathlib.Path,
    model: pathlib.Path,
    sent: bytes,
    clients: int,
    at_once: int,
    seconds: float,
) -> tuple[np.ndarray, float]:
    """One request over and over from several threads: the seconds of each, and GB of memory."""
    process = subprocess.Popen(
        [program, model, str(clients), str(at_once), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    process.stdin.write(sent)
    process.stdin.flush()
    lines = [*itertools.takewhile(lambda line: line != b"end\n", process.stdout)]
    memory = peak_memory(process.pid)
    process.communicate()
    if process.returncode:
        raise RuntimeError(f"the program ended with status {process.returncode}")
    return np.array(lines, float) / 1e6, memory
