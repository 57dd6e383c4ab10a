"""Quick start: from a fresh installation to reconstructed photographs.

Trains a HOG inverter at 192 pixels on random crops of four photographs that are shipped with the
dependencies, evaluates it on two others, writes the report, exports a SavedModel, loads that in a
new process without Keras or tfinvert, and reconstructs one photograph through its bytes endpoint.
Three to seven minutes on two cores:

    python recipes/quickstart.py

Four photographs are enough to learn edges but not colours; training varies the colours at random,
so the reconstructions are almost grey. The shipped `hog` was trained on 24 000 photographs.
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
from tfinvert.training.settings import Intervals, Settings

_WORKDIR = flags.DEFINE_string("workdir", "runs/quickstart", "Work directory of the run.")
_STEPS = flags.DEFINE_integer("steps", 1500, "Total number of optimiser steps.")
_PRECISION = flags.DEFINE_enum("precision", "float32", PRECISIONS, "Compute precision of training.")


def main() -> None:
    """Trains, evaluates, exports and reconstructs."""
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
        intervals=Intervals(log=25, validate=300, checkpoint=500),
    )
    model = run / "savedmodel" / "hog"
    if not (model / "1").exists():
        export_savedmodel(inverter.load(run / INVERTER), model)
    photo, rebuilt = run / "photograph.png", run / "reconstruction.png"
    write_png(photo, extract_square_tiles(load_photograph(SPLITS["validation"][0]))[0])
    # A new process without the package, like a model server's.
    served = subprocess.run(
        [sys.executable, client.__file__, str(model / "1"), str(photo), str(rebuilt)]
    )
    if served.returncode:
        sys.exit(served.returncode)  # the client has printed the error
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
