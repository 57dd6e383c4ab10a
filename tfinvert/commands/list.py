"""Lists the shipped inverters: `tfinvert list`."""

import itertools
import json

from absl import flags

from tfinvert.zoo.registry import ShippedInverter, list_inverters

FLAGS = flags.FLAGS


def main() -> None:
    """Prints a table for each pair of training and evaluation data."""
    entries = list_inverters()
    if FLAGS.json:
        print(json.dumps([entry.to_json() for entry in entries], indent=1))
        return
    width = max(len(entry.versioned_name) for entry in entries)
    for (trained_on, measured_on), group in itertools.groupby(sorted(entries, key=_order), _data):
        print(f"trained on:   {trained_on}\nevaluated on: {measured_on}\n")
        print(f"  {'name':{width}}  input    error  MB")
        for entry in group:
            size = "any" if entry.any_size else f"{entry.height}×{entry.width}"
            megabytes = f"{entry.size_bytes / 1e6:.1f}"
            row = (f"{entry.versioned_name:{width}}", f"{size:7}", f"{entry.normalized_error:.3f}")
            print(f"  {'  '.join(row)}  {megabytes}")
        print()
    print("input: height × width of the photographs in pixels")
    print("error: normalised reconstruction error, 0 is perfect; comparable within a table")


def _data(entry: ShippedInverter) -> tuple[str, str]:
    return entry.training_data, entry.evaluation_data


def _order(entry: ShippedInverter) -> tuple[bool, tuple[str, str], str]:
    """A sort key: inverters of any size come first."""
    return not entry.any_size, _data(entry), entry.name
