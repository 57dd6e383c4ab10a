"""The training history, `history.jsonl`: one JSON object per line."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfinvert.common.files import write_text
from tfinvert.errors import InputError

Entry = dict[str, float]


class History:
    """Log entries of a run, in memory and on disk.

    Args:
      path: the file, which the first entry creates.
      done: number of completed steps; entries of later steps, left by an interrupted run, are
        dropped.

    Attributes:
      entries: mappings of "step" and other values, in order of steps.

    Raises:
      InputError: a complete line of the file is not a valid entry.
    """

    def __init__(self, path: pathlib.Path, done: int):
        self._path = path
        self.entries: list[Entry] = []
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        try:
            entries = [json.loads(line) for line in lines if line.endswith("\n")]
            self.entries = [entry for entry in entries if entry["step"] <= done]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged; use another --workdir. Received: {error}"
            ) from error
        if len(self.entries) < len(lines):
            write_text(path, "".join(map(_line, self.entries)))

    def add(self, entry: Entry) -> None:
        """Appends an entry."""
        self.entries.append(entry)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))


def throughput(images: int, seconds: float) -> float:
    """Returns images per second to three significant digits, positive however slow the run."""
    return float(f"{images / seconds:.3g}")


def training_minutes(entries: list[Entry], batch_size: int) -> float:
    """Returns the time spent in training steps, summed over all interruptions of a run."""
    total, last = 0.0, 0
    for entry in entries:
        total += (entry["step"] - last) * batch_size / entry["images_per_second"]
        last = entry["step"]
    return total / 60


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"


def mean_loss(losses: Sequence[Any]) -> float:
    """Returns the mean of losses, each a scalar of any library, in float64."""
    return float(np.mean([float(loss) for loss in losses]))
