"""From nothing to reconstructed photographs, on data the package's dependencies ship.

Trains a HOG inverter at 192 pixels on random crops of four photographs, evaluates it on two others,
writes the report, exports a SavedModel, loads it in a fresh process without Keras or tfinvert and
rebuilds one photograph through its bytes endpoint. Three to seven minutes on two cores:

    python recipes/quickstart.py

Four photographs teach edges and not colours, so the colours are varied at random in training and
the reconstructions are almost grey. The shipped `hog` has seen 24 000 photographs.
"""

import pathlib
import subprocess
import sys

from absl import flags

from tfinvert import inverter
from tfinvert.commands import runtime
from tfinvert.config.choices import PRECISIONS
from tfinvert.data.photos import SPLITS, extract_square_tiles, load_photograph
from tfinvert.reporting.grids import write_png
from tfinvert.reporting.run_report import REPORT_FILE
from tfinvert.runs.training import INVERTER, TrainingRun, run_training
from tfinvert.serving import client
from tfinvert.serving.export import export_savedmodel
from tfinvert.training import train_inverter
from tfinvert.training.settings import Settings

_WORKDIR = flags.DEFINE_string("workdir", "runs/quickstart", "Where everything goes.")
_STEPS = flags.DEFINE_integer("steps", 1500, "Optimiser steps.")
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", PRECISIONS, "What the network computes in while it trains."
)


def main() -> None:
    """The whole way, one step after the other."""
    run = run_training(
        TrainingRun(feature="hog", data="photos", image_size=192),
        Settings(
            steps=_STEPS.value,
            batch_size=16,
            width=0.25,
            learning_rate=2e-3,
            warmup_steps=100,
            ema_decay=0.99,
            precision=_PRECISION.value,
        ),
        _WORKDIR.value,
        pace=train_inverter.Intervals(log=25, validate=300, checkpoint=500),
    )
    model = run / "savedmodel" / "hog"
    if not (model / "1").exists():
        export_savedmodel(inverter.load(run / INVERTER), model)
    photo, rebuilt = run / "photograph.png", run / "reconstruction.png"
    write_png(photo, extract_square_tiles(load_photograph(SPLITS["validation"][0]))[0])
    # Its own process, and not the package: what a server would do, and no more.
    served = subprocess.run(
        [sys.executable, client.__file__, str(model / "1"), str(photo), str(rebuilt)]
    )
    if served.returncode:
        sys.exit(served.returncode)  # it has said why
    print(
        f"\nreport       {(run / REPORT_FILE).resolve()}\n"
        f"inverter     {run / INVERTER}\n"
        f"SavedModel   {model}\n"
        f"served       {photo} → {rebuilt}\n"
        f"TensorBoard  {pathlib.Path(sys.executable).with_name('tensorboard')} "
        f"--logdir={run / 'summaries'}"
    )


if __name__ == "__main__":
    runtime.run(main)
