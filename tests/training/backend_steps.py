"""Trains some steps from given weights on the Keras backend of this process; for test_backends.py.

    python -m tests.training.backend_steps FOLDER CASE...

reads `images.npy` and each `CASE.initial.npz`, and writes `CASE.final.npz`.
"""

import dataclasses
import pathlib
import sys

import numpy as np

from tfinvert import features
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import Inverter
from tfinvert.networks import inversion, velocity
from tfinvert.training import train_sampler, train_step
from tfinvert.training.settings import Settings
from tfinvert.training.state import Checkpoints, TrainingState, checkpoint_variables

STEPS = 5
BASE = Settings(
    steps=20, batch_size=8, width=0.1, learning_rate=1e-3, warmup_steps=2, ema_decay=0.9
)
ADAM = {"network": "paper", "optimizer": "adam"}
CASES = {
    "everything": {
        "loss": "mse:10,adversarial:0.1",
        "uncertainty": "joint",
        "accumulation_steps": 2,
    },
    "sampler": {"optimizer": "adamw"},
    "mse": ADAM,
    "muon": {},
    "mae": ADAM | {"loss": "mae"},
    "ssim": ADAM | {"loss": "ssim"},
    "perceptual": ADAM | {"loss": "perceptual"},
    "squeezenet": ADAM | {"loss": "perceptual=squeezenet/fire3"},
    "adversarial": ADAM | {"loss": "mse:10,adversarial:0.1"},
    "joint": ADAM | {"uncertainty": "joint"},
    "frozen": ADAM | {"uncertainty": "frozen"},
    "accumulation": ADAM | {"accumulation_steps": 4},
}


def train(case, images, initial=None, checkpoints=None):
    """Trains a state.

    Args:
      case: a key of `CASES`.
      images: `[B, H, W, 3]`.
      initial: values of the state's variables; None for random ones.
      checkpoints: directory of checkpoints after the steps 2 and 4, from which training resumes.

    Returns:
      The initial and the final values of the variables, and the losses.
    """
    settings = dataclasses.replace(BASE, **CASES[case])
    hog = features.get("hog", image_shape=images.shape[1:])
    standardization = Standardization.measure(hog, [hog(images)])
    if case == "sampler":
        velocity.BLOCKS = (0, 0, 1)
        network = inversion.build(hog, width=0.05, network="paper")
        state = train_sampler.FlowState(Inverter(hog, standardization, network), settings)
        drawn = [
            train_sampler.draw_noise_and_times(1, 0, 8 * i + np.arange(8), images.shape[1:])
            for i in range(STEPS)
        ]
    else:
        state = TrainingState(hog, settings)
        state.standardization = standardization
        drawn = [()] * STEPS
    variables = checkpoint_variables(state)
    for key, value in (initial or {}).items():
        variables[key].assign(value)
    initial = {key: variable.numpy() for key, variable in variables.items()}
    saved = Checkpoints(state, checkpoints) if checkpoints else None
    done = saved.restore() if saved else 0
    make_train_step = (train_sampler if case == "sampler" else train_step).make_train_step
    step = make_train_step(state, settings)
    losses = []
    for i in range(done, STEPS):
        losses.append(float(step(np.roll(images, i, axis=2), *drawn[i])))
        if saved and i + 1 in (2, 4):
            saved.save(i + 1)
    return initial, {key: variable.numpy() for key, variable in variables.items()}, losses


def main():
    folder = pathlib.Path(sys.argv[1])
    images = np.load(folder / "images.npy")
    for case in sys.argv[2:]:
        with np.load(folder / f"{case}.initial.npz") as initial:
            _, final, losses = train(case, images, dict(initial))
        np.savez(folder / f"{case}.final.npz", losses=losses, **final)


if __name__ == "__main__":
    main()
