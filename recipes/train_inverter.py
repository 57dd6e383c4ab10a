"""Trains an inversion network as section 3 of the paper (Dosovitskiy & Brox 2016) describes it.

`tfinvert train` from a checkout. The terms of the paper, and where they are:

    feature Φ(x)                       --feature            tfinvert/features/
    network f(φ; w), up-convolutions   --network=paper      tfinvert/networks/paper.py
    loss ‖f(Φ(x); w) − x‖²             --loss=mse           tfinvert/training/losses/pixel.py
    Adam, β = 0.9 and 0.999            --optimizer=adam     tfinvert/training/optimizers.py
    rate 1e-3, lowered towards 0       --learning_rate      tfinvert/training/optimizers.py
    batches of 64 images               --batch_size         tfinvert/training/train_step.py
    15 to 60 epochs of ImageNet        --data, --steps      tfinvert/training/train_loop.py
    normalised reconstruction error    metrics.json         tfinvert/metrics/reconstruction.py

Beyond the paper, features are standardised, and the weights that are saved are averages over the
last steps. The default network and optimiser (`--network=residual --optimizer=muon`) reach lower
errors in the same time. One minute on two cores:

    python recipes/train_inverter.py --feature=hog --data=photos --network=paper \\
        --optimizer=adam --steps=500 --width=0.5 --workdir=runs/try
"""

from tfinvert.commands.main import run_command

if __name__ == "__main__":
    run_command("train")
