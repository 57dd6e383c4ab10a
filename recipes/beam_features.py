"""Computes the cache of views and features for training, as an Apache Beam pipeline.

The flags are those of train_inverter.py, which then reads the cache:

    python recipes/beam_features.py --feature=sift --cache=cache --cached_views=4 \\
        --data=folder:train --validation_data=folder:val --image_size=64 --min_crop=1 --shift=8 \\
        -- --direct_running_mode=multi_processing --direct_num_workers=8

Flags after `--` are those of Beam; without them the pipeline runs in this process. docs/bulk.md
describes other runners and clusters.
"""

import dataclasses

from absl import flags

from tfinvert.commands import runtime
from tfinvert.commands.flags.shared import (
    define_feature_flags,
    define_view_flags,
    feature_from_flags,
)
from tfinvert.config.choices import SOURCE_FORMATS
from tfinvert.errors import InputError
from tfinvert.training.settings import Settings

FLAGS = flags.FLAGS
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Settings)}
VIEW_SETTINGS = ("min_crop", "shift", "color_jitter", "cached_views", "seed")

define_feature_flags()
flags.DEFINE_string("data", "photos", f"Training photographs: {SOURCE_FORMATS}.")
define_view_flags(DEFAULTS)
flags.mark_flag_as_required("cache")


def main(beam_flags: list[str]) -> None:
    """Fills the cache."""
    try:
        from tfinvert.bulk.features import FeatureJob, fill_cache
    except ModuleNotFoundError as error:
        raise InputError(
            f"Apache Beam is missing; install it with pip install 'tfinvert[beam]'. "
            f"Received: {error}"
        ) from error
    settings = Settings(steps=1, **{name: FLAGS[name].value for name in VIEW_SETTINGS})
    split = "all" if FLAGS.validation_data else "training"
    job = FeatureJob(feature_from_flags(), FLAGS.data, FLAGS.image_size, settings, split)
    fill_cache(job, FLAGS.cache, beam_flags)


if __name__ == "__main__":
    runtime.run(main, arguments=True)
