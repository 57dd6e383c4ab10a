"""A training run, as the flags say."""

import dataclasses

from absl import flags

from tfinvert.commands.flags.shared import feature_from_flags, intervals_from_flags
from tfinvert.runs.training import TrainingRun, run_training
from tfinvert.training.settings import Settings

FLAGS = flags.FLAGS


def main() -> None:
    """From flags to a run."""
    FLAGS.feature = feature_from_flags()
    asked, settings = (
        kind(**{field.name: FLAGS[field.name].value for field in dataclasses.fields(kind)})
        for kind in (TrainingRun, Settings)
    )
    pace = intervals_from_flags()
    run_training(asked, settings, FLAGS.workdir, FLAGS.strategy, pace, FLAGS.cache, FLAGS.memory_gb)
