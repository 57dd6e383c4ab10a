"""How every run that trains begins: its devices, its workers, its directory, its cache."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfinvert.common.provenance import library_versions
from tfinvert.runs.run_directory import open_run
from tfinvert.training import strategies
from tfinvert.training.datasets import CachedTrainingDataset, TrainingDataset
from tfinvert.training.workers import WorkerGroup


@dataclasses.dataclass(frozen=True)
class RunContext:
    """A run on its devices.

    Attributes:
      path: its directory.
      devices: that train.
      team: the workers that do so together.
    """

    path: pathlib.Path
    devices: tf.distribute.Strategy
    team: WorkerGroup
    _held: contextlib.ExitStack

    def open(
        self,
        flags: Mapping[str, Any],
        files: Sequence[str],
        examples: TrainingDataset,
        said: Callable[[], str],
    ) -> bool:
        """Makes or takes up the directory, and holds it until the run ends.

        Args:
          flags: what determines the result, the same for all workers.
          files: what the directory of a whole run holds.
          examples: a cache of them is made.
          said: what is printed, when the cache is there, of what is left to do.

        Returns:
          Whether there is something left to do.

        Raises:
          InputError: see `open_run` and `WorkerGroup.check_agreement`.
        """
        self.team.check_agreement(flags)

        def begin() -> bool:
            self._held.enter_context(open_run(self.path, flags))
            if all((self.path / name).exists() for name in files):
                print(f"{self.path} is whole already")
                return False
            if isinstance(examples, CachedTrainingDataset):
                _ = examples.cache  # makes it: the other workers find it
            print(said())
            return True

        return self.team.broadcast(begin)


@contextlib.contextmanager
def open_run_context(
    workdir: str | pathlib.Path, strategy: str, *given: Any
) -> Iterator[RunContext]:
    """Starts the devices, and with other workers the team, until the block ends.

    Args:
      workdir: the run's directory.
      strategy: as `strategies.make_strategy` takes it.
      given: data classes on which all workers must agree.
    """
    facts = library_versions()
    for each in given:
        facts |= dataclasses.asdict(each)
    devices = strategies.make_strategy(strategy, facts)  # first: it may have to start TensorFlow
    with strategies.worker_group(devices) as team, contextlib.ExitStack() as held:
        yield RunContext(pathlib.Path(workdir), devices, team, held)
