"""Kills programs at random moments and sees whether, started again, they end as unbroken ones do.

    python benchmarks/survival.py --kills=100

A small run of training, its evaluation, its saving, a cache being written and an analysis are each
killed (SIGKILL) at a moment drawn from the time that they take, two programs at once. After each
kill every file under its final name must be whole. Then the same command is given again, and what
it leaves must equal, bit for bit, what an unbroken run left: weights, losses, errors, cached files,
results and figures, all but times. Programs run with one thread: with more, TensorFlow may add in
another order.
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
from collections.abc import Iterator
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
PROGRAMS = {
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
# What is killed: a program, while it is in a function.
PHASES = {
    "training": ("training", "tfinvert.training.train_inverter:fit"),
    "evaluation": ("training", "tfinvert.runs.training:evaluate"),
    "saving": ("training", "tfinvert.inverter:Inverter.save"),
    "report": ("training", "tfinvert.runs.training:write_run_report"),
    "cache": ("cache", "tfinvert.training.datasets:open_cache"),
    "analysis": ("analysis", "tfinvert.runs.analyses:run_experiments"),
}
# What differs from run to run: times, the process' memory, and digests of what holds times.
_TIMES = re.compile(r"second|minute|memory|date|created|^inverters$")
# Unfinished files, the lock, and what is compared through what is made of it.
_LEFT_OUT = re.compile(r"\..*|checkpoints|summaries")
_SAID = ".said"
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tfinvert.runs.training", "tfinvert.runs.analyses"])


@dataclasses.dataclass(frozen=True)
class Trial:
    """A kill.

    Attributes:
      phase: what was killed.
      hit: whether the program still ran then.
      wrong: what was not as it should be; "" for a run that survived.
    """

    phase: str
    hit: bool
    wrong: str


def survive(kills: int, seed: int, folder: pathlib.Path) -> list[Trial]:
    """Kills, starts again and compares; phases in turn.

    Args:
      kills: how many.
      seed: of the moments.
      folder: an empty one, to work in.
    """
    photos = _write_photographs(folder / "photos")
    unbroken, seconds = {}, {}
    for program in PROGRAMS:
        place = folder / "unbroken" / program
        times = dict(_run(program, place, photos))
        seconds |= {phase: times[phase] for phase in PHASES if PHASES[phase][0] == program}
        unbroken[program] = _contents(place)
    moments = random.Random(seed)
    plan = [
        (phase, moments.uniform(0, seconds[phase]), folder / f"{number}-{phase}")
        for number, phase in zip(range(kills), itertools.cycle(PHASES), strict=False)
    ]

    def attempt(phase: str, after: float, place: pathlib.Path) -> Trial:
        program = PHASES[phase][0]
        hit = _killed(program, place, photos, phase, after)
        try:
            _contents(place)
            _run(program, place, photos)
            wrong = _difference(unbroken[program], _contents(place))
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if not wrong:
            shutil.rmtree(place)
        return Trial(phase, hit, wrong)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(attempt, *zip(*plan, strict=True)))


def _write_photographs(folder: pathlib.Path) -> pathlib.Path:
    """Some tiles of embedded photographs as files."""
    from tfinvert.data.open_source import open_source
    from tfinvert.metrics.evaluation import read_images
    from tfinvert.reporting.grids import write_png

    for number, image in enumerate(read_images(open_source("photos"), (64, 64), 24)):
        write_png(folder / f"{number:02}.png", image)
    return folder


@contextlib.contextmanager
def _started(program: str, place: pathlib.Path, photos: pathlib.Path) -> Iterator[Any]:
    """A program in a process of its own, and the end of a pipe that tells where it is."""
    ours, its = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_child, args=(program, place, photos, its))
    process.start()
    its.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _run(program: str, place: pathlib.Path, photos: pathlib.Path) -> dict[str, float]:
    """Runs a program to its end; the seconds of its phases."""
    began, seconds = {}, {}
    with _started(program, place, photos) as (process, pipe):
        for phase, ends in _messages(pipe):
            if ends:
                seconds[phase] = time.perf_counter() - began[phase]
            else:
                began[phase] = time.perf_counter()
        process.join()
        if process.exitcode:
            said = (place / _SAID).read_text(encoding="utf-8").strip().splitlines()
            raise RuntimeError(f"status {process.exitcode}: {said[-1] if said else ''}")
    return seconds


def _killed(
    program: str, place: pathlib.Path, photos: pathlib.Path, phase: str, after: float
) -> bool:
    """Kills a program so many seconds after a phase began; whether it still ran."""
    with _started(program, place, photos) as (process, pipe):
        for message in _messages(pipe):
            if message == (phase, False):
                process.join(after)
                break
        return process.is_alive()


def _messages(pipe: Any) -> Iterator[tuple[str, bool]]:
    with contextlib.suppress(EOFError):
        while True:
            yield pipe.recv()


def _child(program: str, place: pathlib.Path, photos: pathlib.Path, pipe: Any) -> None:
    """Runs a recipe, as its command would, and tells when phases begin and end."""
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    said = os.open(_SAID, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for phase, (of, function) in PHASES.items():
        if of == program:
            _announce(function, phase, pipe)
    recipe, *arguments = PROGRAMS[program]
    sys.argv = [recipe, *(argument.format(photos=photos) for argument in arguments)]
    runpy.run_path(str(RECIPES / recipe), run_name="__main__")


def _announce(function: str, phase: str, pipe: Any) -> None:
    """Has a function say when it is entered and left."""
    module, _, path = function.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    original = getattr(owner, name)

    @functools.wraps(original)
    def announced(*args: Any, **kwargs: Any) -> Any:
        pipe.send((phase, False))
        result = original(*args, **kwargs)
        pipe.send((phase, True))
        return result

    setattr(owner, name, announced)


def _contents(place: pathlib.Path) -> dict[str, str]:
    """Digests of all that must be equal, by path.

    Raises:
      Exception: a file is not whole.
    """
    digests = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.is_file() and not any(_LEFT_OUT.match(part) for part in name.parts):
            digests[str(name)] = hashlib.sha256(_content(path)).hexdigest()
    return digests


def _content(path: pathlib.Path) -> bytes:
    """What of a file must be equal, times left out."""
    whole = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(whole))).encode()
    if path.suffix == ".jsonl":
        # A log: its last line may be cut by a kill, and is then left out by those that read it.
        lines = [json.loads(line) for line in whole.splitlines(True) if line.endswith(b"\n")]
        return json.dumps(_timeless(lines)).encode()
    if path.suffix == ".npz":
        with np.load(io.BytesIO(whole)) as arrays:
            return b"".join(name.encode() + arrays[name].tobytes() for name in arrays.files)
    if path.suffix in (".png", ".gif"):
        with Image.open(io.BytesIO(whole)) as image:
            return image.tobytes()
    if path.suffix in (".svg", ".html"):
        text = whole.decode()
        if not text.rstrip().endswith(("</svg>", "</html>")):
            raise ValueError(f"{path} is cut")
        return "".join(re.findall(r"data:image[^\"]+|<svg.*?</svg>", text, re.DOTALL)).encode()
    return whole


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if not _TIMES.search(k)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _difference(expected: dict[str, str], found: dict[str, str]) -> str:
    """Which files differ, are missing or too many."""
    names = sorted(expected.keys() | found.keys())
    return ", ".join(name for name in names if expected.get(name) != found.get(name))


def main() -> None:
    """Prints how many survived."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        trials = survive(flags.FLAGS.kills, flags.FLAGS.seed, pathlib.Path(folder))
        minutes = (time.perf_counter() - begin) / 60
    print("| killed in | kills | of a program that still ran | as unbroken, to the bit |")
    print("| --- | --- | --- | --- |")
    for phase in [*PHASES, "all"]:
        some = [trial for trial in trials if phase in (trial.phase, "all")]
        hit, good = sum(t.hit for t in some), sum(not t.wrong for t in some)
        print(f"| {phase} | {len(some)} | {hit} | {good} |")
    print(f"{minutes:.0f} minutes")
    for trial in trials:
        if trial.wrong:
            print(f"{trial.phase}: {trial.wrong}")


if __name__ == "__main__":  # which it is not in the processes it starts: recipes have these flags
    flags.DEFINE_integer("kills", 100, "How many.", 1)
    flags.DEFINE_integer("seed", 0, "Of the moments.")
    runtime.run(main)
