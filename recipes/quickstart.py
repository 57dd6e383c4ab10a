"""Quick start: from a fresh installation to reconstructed photographs, on one page.

Shows what the pretrained inverters make of photographs: reconstructions from HOG, SIFT and the
convolutional layers of AlexNet, samples, and predicted uncertainty. Then trains an inverter of
AlexNet's first layer from scratch, on random crops of four photographs that are shipped with the
dependencies; exports a SavedModel, loads that in a new process without Keras or tfinvert, and
reconstructs a photograph through its bytes endpoint. Two to three minutes on two threads:

    python recipes/quickstart.py

`--long` trains an inverter of HOG at 192 pixels instead, for five to nine minutes. Four photographs
are enough to learn edges but not colours, which HOG discards: training varies the colours at
random, so the reconstructions are almost grey. The shipped `hog` was trained on 24 000 photographs.
"""

from absl import flags

from tfinvert.commands import runtime
from tfinvert.runs.demo import run_demo
from tfinvert.runs.training import TrainingRun
from tfinvert.training.settings import Intervals, Settings

_LONG = flags.DEFINE_bool("long", False, "Train an inverter of HOG at 192 pixels, for longer.")
_STEPS = flags.DEFINE_integer("steps", None, "Total number of optimiser steps.", lower_bound=1)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Work directory; runs/demo, or runs/demo-train with --long, by default."
)


def main() -> None:
    """Runs the demo and prints the path of its page."""
    if _LONG.value:
        workdir, intervals = "runs/demo-train", Intervals(log=25, validate=300, checkpoint=500)
        config = TrainingRun(feature="hog", data="photos", image_size=192)
        settings = Settings(
            steps=_STEPS.value or 1500,
            batch_size=16,
            width=0.25,
            learning_rate=2e-3,
            warmup_steps=100,
            ema_decay=0.99,
        )
    else:
        workdir, intervals = "runs/demo", Intervals(log=10, validate=25, checkpoint=100)
        config = TrainingRun(feature="alexnet/conv1", data="photos", image_size=64)
        settings = Settings(
            steps=_STEPS.value or 350,
            batch_size=16,
            width=0.5,
            learning_rate=2e-3,
            warmup_steps=50,
            ema_decay=0.98,
        )
    page = run_demo(config, settings, intervals, _WORKDIR.value or workdir)
    print(page.resolve())


if __name__ == "__main__":
    runtime.run(main, quick=True)
