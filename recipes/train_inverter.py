"""Trains the inversion network of a feature: `tfinvert train` from a checkout.

    python recipes/train_inverter.py --feature=hog --data=photos --steps=500 --width=0.5 \\
        --workdir=runs/try
"""

from tfinvert.commands.main import run_command

if __name__ == "__main__":
    run_command("train")
