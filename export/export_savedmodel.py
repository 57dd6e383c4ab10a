"""Exports an inverter for TensorFlow Serving: `tfinvert export` from a checkout.

python export/export_savedmodel.py --inverter=hog --output=models/hog
"""

from tfinvert.commands.main import run_command

if __name__ == "__main__":
    run_command("export")
