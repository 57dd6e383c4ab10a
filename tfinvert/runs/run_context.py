"""Set-up of a training run: devices, workers, run directory and feature cache."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfinvert.common.files import user_path
from tfinvert.common.provenance import library_versions
from tfinvert.runs.run_directory import open_run
from tfinvert.training import strategies
from tfinvert.training.datasets import CachedTrainingDataset, TrainingDataset
from tfinvert.training.workers import WorkerGroup

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class RunContext:
    """The devices, workers and directory of a training run.

    Attributes:
      path: the run directory.
      strategy: the distribution strategy over the devices that train; None on JAX.
      workers: the group of workers that train together.
    """

    path: pathlib.Path
    strategy: tf.distribute.Strategy | None
    workers: WorkerGroup
    _stack: contextlib.ExitStack

    def open(
        self,
        flags: Mapping[str, Any],
        files: Sequence[str],
        dataset: TrainingDataset,
        run_summary: Callable[[], str],
    ) -> bool:
        """Opens the run directory, locks it until the run ends, and fills the feature cache.

        Args:
          flags: everything that determines the result, equal for all workers.
          files: names of the files in the directory of a complete run.
          dataset: the training data, which may have a feature cache.
          run_summary: returns a line about data and devices to print; called when the cache is
            filled.

        Returns:
          Whether the run is incomplete.

        Raises:
          InputError: the directory or the flags cannot be used; see `open_run` and
            `WorkerGroup.check_agreement`.
        """
        self.workers.check_agreement(flags)

        def open_directory() -> bool:
            self._stack.enter_context(open_run(self.path, flags))
            if all((self.path / name).exists() for name in files):
                print(f"{self.path} is already complete")
                return False
            if isinstance(dataset, CachedTrainingDataset):
                _ = dataset.cache  # fills it, so that the other workers find it
            print(run_summary())
            return True

        return self.workers.broadcast(open_directory)


@contextlib.contextmanager
def open_run_context(
    workdir: str | pathlib.Path, strategy_name: str, *configs: Any
) -> Iterator[RunContext]:
    """Initialises the devices, and connects to other workers, until the block ends.

    Args:
      workdir: the run directory.
      strategy_name: a name that `strategies.make_strategy` takes.
      *configs: data classes that must be equal for all workers.
    """
    facts = library_versions()
    for config in configs:
        facts |= dataclasses.asdict(config)
    # First, because it may initialise TensorFlow.
    strategy = strategies.make_strategy(strategy_name, facts)
    with strategies.worker_group(strategy) as workers, contextlib.ExitStack() as stack:
        yield RunContext(user_path(workdir), strategy, workers, stack)
