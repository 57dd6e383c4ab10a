"""Reconstructs an image file with an exported model, without Keras and without tfinvert.

    python tfinvert/serving/client.py models/hog/1 photo.jpg reconstruction.png
    python tfinvert/serving/client.py models/sift/1 features.npy reconstruction.png

Copy this file wherever TensorFlow is installed. `features.npy` holds the features of one image, as
export/compute_features.py writes them.
"""

import argparse
import os
import pathlib
import re
import sys
from typing import Any

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

    outputs = _ask(savedmodel_dir, "reconstruct_bytes", image_bytes=tf.constant([image_bytes]))
    png = outputs["png_bytes"].numpy()[0]
    if "reconstruction" in outputs:
        return outputs["reconstruction"].numpy()[0], png
    return tf.io.decode_png(png, channels=3).numpy() / np.float32(255), png  # images of any size


def invert_file(
    savedmodel_dir: str | os.PathLike[str], path: pathlib.Path
) -> tuple[np.ndarray, bytes]:
    """Sends the features in a `.npy` file, `[1, …]`, through the endpoint `invert`.

    Returns and raises what `reconstruct_file` does.
    """
    import tensorflow as tf

    features = np.load(path, allow_pickle=False)
    if features.dtype != np.float32 or len(features) != 1:
        raise ValueError(
            f"{path} must hold float32 features of one image, [1, …]. Received: "
            f"{features.dtype} {list(features.shape)}"
        )
    outputs = _ask(savedmodel_dir, "invert", features=tf.constant(features))
    image = outputs["reconstruction"][0]
    png = tf.io.encode_png(tf.cast(tf.round(image * 255.0), tf.uint8))
    return image.numpy(), png.numpy()


def _ask(savedmodel_dir: str | os.PathLike[str], endpoint: str, **inputs: Any) -> dict[str, Any]:
    import tensorflow as tf

    if not tf.saved_model.contains_saved_model(os.fspath(savedmodel_dir)):
        raise ValueError(f"no SavedModel at {savedmodel_dir}")
    try:
        model = tf.saved_model.load(os.fspath(savedmodel_dir))
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"{savedmodel_dir} cannot be loaded: {error}") from error
    if endpoint not in model.signatures:
        raise ValueError(
            f"{savedmodel_dir} has no endpoint {endpoint}; it has {', '.join(model.signatures)}"
        )
    ((name, spec),) = model.signatures[endpoint].structured_input_signature[1].items()
    if not spec.shape.is_compatible_with(inputs[name].shape):
        raise ValueError(f"{endpoint} takes {name} {spec.shape}. Received: {inputs[name].shape}")
    try:
        return model.signatures[endpoint](**inputs)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"the model refuses the {name}: {_reason(error.message)}") from error


def main() -> None:
    """The command line: exit status 2 and one line on standard error if the input is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a version's directory, for example models/hog/1")
    parser.add_argument(
        "image", type=pathlib.Path, help="a JPEG or PNG file, or features in a .npy file"
    )
    parser.add_argument("output", type=pathlib.Path, help="where the PNG goes")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.modules["keras"] = None  # an import would fail: nothing here needs Keras
    try:
        if arguments.image.suffix == ".npy":
            reconstruction, png = invert_file(arguments.model, arguments.image)
        else:
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
