"""Trains an inverter: `tfinvert train`."""

import dataclasses

from absl import flags

from tfinvert.commands.flags.shared import feature_from_flags, intervals_from_flags
from tfinvert.commands.flags.stored_pairs import pairs_from_flags
from tfinvert.runs.training import TrainingRun, run_training
from tfinvert.training.settings import Settings

FLAGS = flags.FLAGS


def main() -> None:
    """Runs a training with the command's flags."""
    given = {"feature": feature_from_flags(), "pairs": pairs_from_flags()}
    config, settings = (
        kind(**{x.name: given.get(x.name, FLAGS[x.name].value) for x in dataclasses.fields(kind)})
        for kind in (TrainingRun, Settings)
    )
    run_training(
        config,
        settings,
        FLAGS.workdir,
        FLAGS.strategy,
        intervals_from_flags(),
        FLAGS.cache,
        FLAGS.memory_gb,
    )
