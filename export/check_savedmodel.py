"""Checks that TensorFlow Serving can run a model: `tfinvert serve-check` from a checkout.

python export/check_savedmodel.py --model=models/hog/1
"""

from tfinvert.commands.main import run_command

if __name__ == "__main__":
    run_command("serve-check")
