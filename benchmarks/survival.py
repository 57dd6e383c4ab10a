"""Kills programs at random moments and checks that they resume to the result of an undisturbed run.

    python benchmarks/survival.py --kills=100

Small programs are killed (SIGKILL) at a random moment of their training, evaluation, saving, cache
writing or analysis, two programs in parallel. After each kill every file under its final name must
be complete. The same command then resumes, and its output must equal that of an undisturbed run bit
for bit: weights, losses, errors, cached files, results and figures, everything but times. Programs
run with one thread, because with several TensorFlow may sum in another order.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import io
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import re
import runpy
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags
from PIL import Image

from tfinvert.commands import runtime

RECIPES = pathlib.Path(__file__).resolve().parents[1] / "recipes"
TRAIN = (
    "--data=folder:{photos}",
    "--image_size=32",
    "--batch_size=8",
    "--width=0.125",
    "--log_every=1",
    "--validate_every=5",
    "--checkpoint_every=2",
    "--workdir=run",
)
Command = Sequence[str]  # a recipe and its arguments
PROGRAMS: dict[str, Command] = {
    "training": ("train_inverter.py", "--feature=hog", "--steps=30", *TRAIN),
    "cache": (
        "train_inverter.py",
        "--feature=sift",
        "--steps=2",
        "--cache=cache",
        "--cached_views=64",
        *TRAIN,
    ),
    "analysis": (
        "analyze.py",
        "--experiment=contrast,keypoints",
        "--data=folder:{photos}",
        "--max_images=4",
        "--workdir=run",
    ),
}
# Phase → the program that is killed while it runs a function.
PHASES = {
    "training": ("training", "tfinvert.training.train_inverter:train_inverter"),
    "evaluation": ("training", "tfinvert.runs.training:evaluate"),
    "saving": ("training", "tfinvert.inverter:Inverter.save"),
    "report": ("training", "tfinvert.runs.training:write_run_report"),
    "cache": ("cache", "tfinvert.training.datasets:open_cache"),
    "analysis": ("analysis", "tfinvert.runs.analyses:run_experiments"),
}
# Keys of values that differ between runs: times, memory, and digests of files that contain times.
_VARYING_KEYS = re.compile(r"second|minute|memory|date|created|^inverters$")
# Unfinished files, the lock, and files whose content is compared through other files.
_IGNORED = re.compile(r"\..*|checkpoints|summaries")
_OUTPUT = ".output"
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tfinvert.runs.training", "tfinvert.runs.analyses"])


@dataclasses.dataclass(frozen=True)
class Trial:
    """A killed and resumed run.

    Attributes:
      phase: the phase in which the program was killed.
      hit: whether the program was still running.
      wrong: description of a fault; "" if there was none.
    """

    phase: str
    hit: bool
    wrong: str


def survive(
    kills: int, seed: int, folder: pathlib.Path, programs: Mapping[str, Command] = PROGRAMS
) -> list[Trial]:
    """Kills programs in each phase in turn, resumes them and compares the results.

    Args:
      kills: number of kills.
      seed: random seed of their moments.
      folder: an empty working folder.
      programs: recipe and arguments of each program.
    """
    photos = str(_write_photographs(folder / "photos"))
    commands = {
        name: [argument.format(photos=photos) for argument in command]
        for name, command in programs.items()
    }
    undisturbed, seconds = {}, {}
    for program, command in commands.items():
        place = folder / "undisturbed" / program
        times = dict(_run(program, command, place))
        seconds |= {phase: times[phase] for phase in PHASES if PHASES[phase][0] == program}
        undisturbed[program] = digest_files(place)
    moments = random.Random(seed)
    plan = [
        (phase, moments.uniform(0, seconds[phase]), folder / f"{number}-{phase}")
        for number, phase in zip(range(kills), itertools.cycle(PHASES), strict=False)
    ]

    def attempt(phase: str, after: float, place: pathlib.Path) -> Trial:
        program = PHASES[phase][0]
        hit = _killed(program, commands[program], place, phase, after)
        try:
            digest_files(place)
            _run(program, commands[program], place)
            wrong = find_differences(undisturbed[program], digest_files(place))
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if not wrong:
            shutil.rmtree(place)
        return Trial(phase, hit, wrong)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(attempt, *zip(*plan, strict=True)))


def _write_photographs(folder: pathlib.Path) -> pathlib.Path:
    """Writes tiles of scikit-image's photographs as files."""
    from tfinvert.data.open_source import open_source
    from tfinvert.metrics.evaluation import read_images
    from tfinvert.reporting.grids import write_png

    for number, image in enumerate(read_images(open_source("photos"), (64, 64), 24)):
        write_png(folder / f"{number:02}.png", image)
    return folder


@contextlib.contextmanager
def _run_in_process(program: str, command: Command, place: pathlib.Path) -> Iterator[Any]:
    """Runs a program in a new process; yields the process and a pipe with its progress."""
    own_pipe, child_pipe = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_child, args=(program, command, place, child_pipe))
    process.start()
    child_pipe.close()
    try:
        yield process, own_pipe
    finally:
        process.kill()
        process.join()
        own_pipe.close()


def _run(program: str, command: Command, place: pathlib.Path) -> dict[str, float]:
    """Runs a program to its end and returns the duration of each phase in seconds."""
    began, seconds = {}, {}
    with _run_in_process(program, command, place) as (process, pipe):
        for phase, ends in _messages(pipe):
            if ends:
                seconds[phase] = time.perf_counter() - began[phase]
            else:
                began[phase] = time.perf_counter()
        process.join()
        if process.exitcode:
            lines = (place / _OUTPUT).read_text(encoding="utf-8").strip().splitlines()
            raise RuntimeError(f"status {process.exitcode}: {lines[-1] if lines else ''}")
    return seconds


def _killed(program: str, command: Command, place: pathlib.Path, phase: str, after: float) -> bool:
    """Kills a program some seconds into a phase; returns whether it was still running."""
    with _run_in_process(program, command, place) as (process, pipe):
        for message in _messages(pipe):
            if message == (phase, False):
                process.join(after)
                break
        return process.is_alive()


def _messages(pipe: Any) -> Iterator[tuple[str, bool]]:
    with contextlib.suppress(EOFError):
        while True:
            yield pipe.recv()


def _child(program: str, command: Command, place: pathlib.Path, pipe: Any) -> None:
    """Runs a recipe like its command, and reports when phases begin and end."""
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    output = os.open(_OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for phase, (of, function) in PHASES.items():
        if of == program:
            _report_phase(function, phase, pipe)
    recipe, *_ = sys.argv = [*command]
    runpy.run_path(str(RECIPES / recipe), run_name="__main__")


def _report_phase(function: str, phase: str, pipe: Any) -> None:
    """Wraps a function so that it reports its beginning and end."""
    module, _, path = function.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    original = getattr(owner, name)

    @functools.wraps(original)
    def reported(*args: Any, **kwargs: Any) -> Any:
        pipe.send((phase, False))
        result = original(*args, **kwargs)
        pipe.send((phase, True))
        return result

    setattr(owner, name, reported)


def digest_files(place: pathlib.Path) -> dict[str, str]:
    """Returns digests, by path, of everything that must be equal.

    Raises:
      Exception: a file is not complete.
    """
    digests = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.is_file() and not any(_IGNORED.match(part) for part in name.parts):
            digests[str(name)] = hashlib.sha256(_content(path)).hexdigest()
    return digests


def _content(path: pathlib.Path) -> bytes:
    """Returns the part of a file that must be equal, without times."""
    whole = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_without_varying(json.loads(whole))).encode()
    if path.suffix == ".jsonl":
        # A log, whose last line a kill may truncate; readers ignore such a line.
        lines = [json.loads(line) for line in whole.splitlines(True) if line.endswith(b"\n")]
        return json.dumps(_without_varying(lines)).encode()
    if path.suffix == ".npz":
        with np.load(io.BytesIO(whole)) as arrays:
            return b"".join(name.encode() + arrays[name].tobytes() for name in arrays.files)
    if path.suffix in (".png", ".gif"):
        with Image.open(io.BytesIO(whole)) as image:
            return image.tobytes()
    if path.suffix in (".svg", ".html"):
        text = whole.decode()
        if not text.rstrip().endswith(("</svg>", "</html>")):
            raise ValueError(f"{path} is truncated")
        return "".join(re.findall(r"data:image[^\"]+|<svg.*?</svg>", text, re.DOTALL)).encode()
    return whole


def _without_varying(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_varying(v) for k, v in value.items() if not _VARYING_KEYS.search(k)}
    return [_without_varying(item) for item in value] if isinstance(value, list) else value


def find_differences(expected: dict[str, str], found: dict[str, str]) -> str:
    """Names the files that differ, are missing or are superfluous."""
    names = sorted(expected.keys() | found.keys())
    return ", ".join(name for name in names if expected.get(name) != found.get(name))


def main() -> None:
    """Kills the programs and prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        trials = survive(flags.FLAGS.kills, flags.FLAGS.seed, pathlib.Path(folder))
        minutes = (time.perf_counter() - begin) / 60
    print("| killed in | kills | of a running program | equal to an undisturbed run |")
    print("| --- | --- | --- | --- |")
    for phase in [*PHASES, "all"]:
        some = [trial for trial in trials if phase in (trial.phase, "all")]
        hit, good = sum(t.hit for t in some), sum(not t.wrong for t in some)
        print(f"| {phase} | {len(some)} | {hit} | {good} |")
    print(f"{minutes:.0f} minutes")
    for trial in trials:
        if trial.wrong:
            print(f"{trial.phase}: {trial.wrong}")


if __name__ == "__main__":  # not in the processes it starts, whose recipes define such flags
    flags.DEFINE_integer("kills", 100, "Number of kills.", 1)
    flags.DEFINE_integer("seed", 0, "Random seed of their moments.")
    runtime.run(main)
