"""Reconstructs an image file with an exported model, without Keras and without tfinvert.

    python tfinvert/serving/client.py models/hog/1 photo.jpg reconstruction.png

Copy this file wherever TensorFlow is installed.
"""

import argparse
import os
import pathlib
import re
import sys

import numpy as np


def reconstruct_file(
    savedmodel_dir: str | os.PathLike[str], image_bytes: bytes
) -> tuple[np.ndarray, bytes]:
    """Sends one image file through the endpoint `reconstruct_bytes`.

    Args:
      savedmodel_dir: a version's directory, for example "models/hog/1".
      image_bytes: a JPEG or PNG.

    Returns:
      The reconstruction, float32 `[H, W, 3]` in [0, 1], and the same as a PNG.

    Raises:
      ValueError: there is no whole model, it has no such endpoint, or it refuses the image.
    """
    import tensorflow as tf  # late: `main` shuts Keras out first

    if not tf.saved_model.contains_saved_model(os.fspath(savedmodel_dir)):
        raise ValueError(f"no SavedModel at {savedmodel_dir}")
    try:
        model = tf.saved_model.load(os.fspath(savedmodel_dir))
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"{savedmodel_dir} cannot be loaded: {error}") from error
    if "reconstruct_bytes" not in model.signatures:
        raise ValueError(f"{savedmodel_dir} has no endpoint reconstruct_bytes")
    try:
        outputs = model.signatures["reconstruct_bytes"](image_bytes=tf.constant([image_bytes]))
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"the model refuses the image: {_reason(error.message)}") from error
    return outputs["reconstruction"].numpy()[0], outputs["png_bytes"].numpy()[0]


def main() -> None:
    """The command line: exit status 2 and one line on standard error if the input is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a version's directory, for example models/hog/1")
    parser.add_argument("image", type=pathlib.Path, help="a JPEG or PNG file")
    parser.add_argument("output", type=pathlib.Path, help="where the PNG goes")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.modules["keras"] = None  # an import would fail: nothing here needs Keras
    try:
        reconstruction, png = reconstruct_file(arguments.model, arguments.image.read_bytes())
        _write(arguments.output, png)
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    height, width = reconstruction.shape[:2]
    print(f"{arguments.output}: {width}×{height} pixels")


def _reason(message: str) -> str:
    """What went wrong, out of TensorFlow's account of where."""
    found = re.search(r"(.*)\n\s*\[\[\{\{node", message)
    return found[1] if found else message


def _write(path: pathlib.Path, data: bytes) -> None:
    """Writes the file whole or not at all."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
