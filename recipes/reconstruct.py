"""Reconstructs photographs from their features: `tfinvert reconstruct` from a checkout.

python recipes/reconstruct.py --inverter=hog --output=grid.png a.jpg b.png
"""

from tfinvert.commands.main import run_command

if __name__ == "__main__":
    run_command("reconstruct")
