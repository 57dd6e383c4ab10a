"""Lists the features, or the tensors of an ONNX model: `tfinvert features`."""

import json
import pathlib
from collections.abc import Sequence

from absl import flags

from tfinvert.config.registry import FEATURE_FAMILIES, FEATURES
from tfinvert.errors import InputError
from tfinvert.networks.onnx_graph import OnnxGraph, format_shape

FLAGS = flags.FLAGS


def main(arguments: list[str]) -> None:
    """Prints a table of features, or of the tensors of the file that is the only argument."""
    if len(arguments) > 1:
        raise InputError(
            f"features takes at most one argument, an ONNX file. Received: {' '.join(arguments)}"
        )
    if arguments:
        _print_tensors(pathlib.Path(arguments[0]))
    else:
        _print_features()


def _print_features() -> None:
    rows = {name: FEATURES.describe(name) for name in FEATURES}
    rows |= {f"{name}/LAYER": FEATURE_FAMILIES.describe(name) for name in FEATURE_FAMILIES}
    if FLAGS.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    _print_columns(rows.items())


def _print_tensors(path: pathlib.Path) -> None:
    tensors = OnnxGraph(path).tensors(FLAGS.size)
    shown = [tensor for tensor in tensors if tensor.kind or FLAGS.all]
    if FLAGS.json:
        rows = [{**tensor._asdict(), "kind": tensor.kind} for tensor in shown]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    names = ("output", "inner tensor")
    _print_columns(
        [
            ("name", "shape", "feature", "", "operator"),
            *(
                (x.name, format_shape(x.shape), x.kind, names[not x.output], x.operator)
                for x in shown
            ),
        ]
    )
    if hidden := len(tensors) - len(shown):
        print(f"{hidden} tensors that are no grid, vector or tokens; --all lists them")
    if any(None in (tensor.shape or (None,))[1:] for tensor in shown):
        print("?: unknown; give the size of the images, such as --size=224, if the model takes any")
    print(f"train on one with --feature=onnx:{path},output=NAME")


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    rows = [*rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
