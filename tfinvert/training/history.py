"""What a run writes down of its steps: `history.jsonl`, one JSON object a line."""

import json
import pathlib

from tfinvert.common.files import atomic_path
from tfinvert.errors import InputError

Entry = dict[str, float]


class History:
    """The entries of a run up to a step, on disk and in memory.

    Args:
      path: the file; made by the first entry.
      done: entries after this step, of a run that was interrupted, are dropped.

    Attributes:
      entries: mappings with "step" and other figures, in the order of the steps.

    Raises:
      InputError: a whole line of the file cannot be read.
    """

    def __init__(self, path: pathlib.Path, done: int):
        self._path = path
        self.entries: list[Entry] = []
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        try:
            whole = [json.loads(line) for line in lines if line.endswith("\n")]
            self.entries = [entry for entry in whole if entry["step"] <= done]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged: {error}") from error
        if len(self.entries) < len(lines):
            with atomic_path(path) as temporary:
                temporary.write_text("".join(map(_line, self.entries)), encoding="utf-8")

    def add(self, entry: Entry) -> None:
        """Appends an entry."""
        self.entries.append(entry)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))


def throughput(images: int, seconds: float) -> float:
    """Images a second, to three digits; above 0 however slow, since `training_minutes` divides by it."""
    return float(f"{images / seconds:.3g}")


def training_minutes(entries: list[Entry], batch_size: int) -> float:
    """The time the steps took, over every session of a run."""
    total, last = 0.0, 0
    for entry in entries:
        total += (entry["step"] - last) * batch_size / entry["images_per_second"]
        last = entry["step"]
    return total / 60


def _line(entry: Entry) -> str:
    return json.dumps(entry) + "\n"
