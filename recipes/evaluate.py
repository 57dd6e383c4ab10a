"""Evaluates an inverter on photographs: `tfinvert evaluate` from a checkout.

python recipes/evaluate.py --inverter=hog-64 --data=folder:val
"""

from tfinvert.commands.main import run_command

if __name__ == "__main__":
    run_command("evaluate")
