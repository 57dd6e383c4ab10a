"""Lists the features, or the tensors of an ONNX model that can be features.

    tfinvert features
    tfinvert features model.onnx
    tfinvert features model.onnx --size=224 --json

`--feature=onnx:model.onnx,output=NAME` of other commands takes the names of tensors; see
docs/onnx.md.
"""

from absl import flags

from tfinvert.commands.command import Command

COMMAND = Command(module=__name__, order=85, arguments=True, quick=True)


def define_flags() -> None:
    """Defines this command's flags."""
    flags.DEFINE_integer(
        "size",
        0,
        "Height and width of the input in pixels, for a model that takes images of any size; 0 "
        "leaves shapes that depend on it unknown.",
        lower_bound=0,
    )
    flags.DEFINE_bool("all", False, "All tensors, also those that cannot be features.")
    flags.DEFINE_bool("json", False, "JSON output.")
