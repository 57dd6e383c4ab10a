"""Standard streams of the programs: encodings, closed pipes, full disks, closed streams."""

import contextlib
import io
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tfinvert.commands.streams import safe_streams

ROOT = pathlib.Path(__file__).parents[2]
TEXT = "64×64 – 0.5 ± 0.1 → Fréchet"
PLAIN = "64x64 - 0.5 +- 0.1 -> Frechet"


def tfinvert(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    """Runs a command that needs no TensorFlow in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tfinvert", *arguments],
        cwd=ROOT,
        stdout=stdout,
        stderr=stderr,
        env=os.environ | environment,
        timeout=60,
    )


def written(encoding, text, monkeypatch):
    """The bytes of a text that is printed to a stream of that encoding."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding))
    with safe_streams():
        print(text, end="")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", PLAIN),
        ("cp437", "64x64 - 0.5 ± 0.1 -> Fréchet"),
        ("cp932", "64×64 - 0.5 ± 0.1 → Frechet"),
        ("utf-8", TEXT),
    ],
)
def test_characters_that_an_encoding_lacks(encoding, expected, monkeypatch):
    assert written(encoding, TEXT, monkeypatch).decode(encoding) == expected


def test_names_of_files_are_escaped(monkeypatch):
    assert written("ascii", "猫.png", monkeypatch) == rb"\u732b.png"
    not_utf8 = os.fsdecode(b"caf\xe9.png")
    for encoding in ("ascii", "utf-8"):
        assert written(encoding, not_utf8, monkeypatch) == rb"caf\udce9.png"


@pytest.mark.parametrize("arguments", [["list"], ["train", "--help"]])
def test_output_in_ascii(arguments, outputs):
    finished = tfinvert(*arguments, PYTHONIOENCODING="ascii")
    assert (finished.returncode, finished.stderr) == (0, b"")
    text = outputs[tuple(arguments)]
    assert not text.isascii()
    assert finished.stdout.decode("ascii").count("\n") == text.count("\n")


@contextlib.contextmanager
def closed_pipe():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        yield pipe


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [("--help", ""), ("list", ""), ("list", "1"), ("train --help", ""), ("completion bash", "")],
)
def test_a_closed_pipe_ends_a_program_silently(arguments, unbuffered):
    with closed_pipe() as pipe:
        finished = tfinvert(*arguments.split(), stdout=pipe, PYTHONUNBUFFERED=unbuffered)
    assert finished.stderr == b""
    assert finished.returncode == 128 + signal.SIGPIPE


def test_a_closed_pipe_for_errors():
    with closed_pipe() as pipe:
        finished = tfinvert("nonsense", stderr=pipe)
    assert (finished.returncode, finished.stdout) == (128 + signal.SIGPIPE, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize(("arguments", "unbuffered"), [("--help", ""), ("list", "1")])
def test_a_full_disk_is_one_line(arguments, unbuffered):
    with open("/dev/full", "w") as full:
        finished = tfinvert(arguments, stdout=full, PYTHONUNBUFFERED=unbuffered)
    assert finished.returncode == 2
    (line,) = finished.stderr.decode().splitlines()
    assert line.startswith("error: ")
    assert line.endswith("standard output: No space left on device")


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_closed_streams(closed):
    command = f'exec "{sys.executable}" -m tfinvert list {closed}'
    finished = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert (b"hog" in finished.stdout) == (closed == "<&-")


def test_files_that_a_program_opens_are_no_streams(tmp_path):
    """Otherwise everything that is printed would be written into them."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from tfinvert.commands.streams import safe_streams\n"
        "with safe_streams(), open(sys.argv[1], 'w') as file:\n"
        "    assert file.fileno() > 2\n"
        "    print('printed')\n"
        "    print('printed', file=sys.stderr)\n"
    )
    command = f'exec "{sys.executable}" "{program}" "{tmp_path / "file"}" <&- >&- 2>&-'
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(["sh", "-c", command], env=environment, timeout=60).returncode == 0
    assert not (tmp_path / "file").read_bytes()
