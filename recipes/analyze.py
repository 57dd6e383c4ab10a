"""The paper's experiments, into one report: `tfinvert analyze` from a checkout.

python recipes/analyze.py --experiment=all --max_images=16 --workdir=runs/look
"""

from tfinvert.commands.main import run_command

if __name__ == "__main__":
    run_command("analyze")
