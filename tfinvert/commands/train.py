"""A training run, as the flags say."""

import dataclasses

from absl import flags

from tfinvert.runs.recipe_flags import feature_of_flags, pace_of_flags
from tfinvert.runs.training import TrainingRun, run_training
from tfinvert.training.settings import Settings

FLAGS = flags.FLAGS


def main() -> None:
    """From flags to a run."""
    FLAGS.feature = feature_of_flags()
    asked, settings = (
        kind(**{field.name: FLAGS[field.name].value for field in dataclasses.fields(kind)})
        for kind in (TrainingRun, Settings)
    )
    pace = pace_of_flags()
    run_training(asked, settings, FLAGS.workdir, FLAGS.strategy, pace, FLAGS.cache, FLAGS.memory_gb)
