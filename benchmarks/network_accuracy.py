"""Top-1 and top-5 accuracy of a network on photographs in folders named by ImageNet's WNIDs.

python benchmarks/network_accuracy.py --data=folder:PATH --feature=squeezenet/logits --size=227

The feature is a vector of one value per class of ImageNet's 1000, in its order. PATH has the
folders n01440764, n01443537, …; the largest central square of each photograph is resized.
"""

import importlib.util
import pathlib

import numpy as np
import tensorflow as tf
from absl import flags

from tfinvert import features
from tfinvert.commands import runtime
from tfinvert.data.folder import ImageFolder
from tfinvert.data.pipeline import center_crop_and_resize
from tfinvert.errors import InputError

_DATA = flags.DEFINE_string(
    "data", None, "Photographs: folder:PATH, with one folder per class.", required=True
)
_FEATURE = flags.DEFINE_string("feature", "squeezenet/logits", "Feature, with its options.")
_SIZE = flags.DEFINE_integer(
    "size", 227, "Side of the images in pixels, best that of the network's input."
)

_BATCH = 50


def wnids() -> list[str]:
    """Returns the 1000 classes of ILSVRC-2012 in the order of the network's outputs, sorted."""
    package = importlib.util.find_spec("tensorflow_datasets").submodule_search_locations[0]
    path = pathlib.Path(package, "datasets", "imagenet2012", "labels.txt")
    return sorted(path.read_text(encoding="utf-8").split())


def photographs(data: str) -> list[tuple[int, ImageFolder]]:
    """Opens the folders of photographs, each with its class index.

    Raises:
      InputError: the folder does not exist, or a subfolder is not a class of ILSVRC-2012.
    """
    kind, _, path = data.partition(":")
    root = pathlib.Path(path)
    if kind != "folder" or not path or not root.is_dir():
        raise InputError(f"--data must be folder:PATH of an existing folder. Received: {data}")
    classes = wnids()
    found = sorted(folder for folder in root.iterdir() if folder.is_dir())
    wrong = [folder.name for folder in found if folder.name not in classes]
    if wrong or not found:
        raise InputError(
            f"--data must contain folders named by WNIDs of ILSVRC-2012, such as {classes[0]}. "
            f"Received: {', '.join(wrong[:3]) or 'no folder'}"
        )
    return [(classes.index(folder.name), ImageFolder(folder)) for folder in found]


def main() -> None:
    """Prints both accuracies."""
    size = (_SIZE.value, _SIZE.value)
    feature = features.get(_FEATURE.value, image_shape=(*size, 3))
    if feature.spec.shape != (len(wnids()),):
        raise InputError(
            "--feature must have one value per class. Received: "
            f"{_FEATURE.value} of shape {list(feature.spec.shape)}"
        )
    pairs = [
        (label, source, index)
        for label, source in photographs(_DATA.value)
        for index in range(len(source))
    ]
    scores = []
    for begin in range(0, len(pairs), _BATCH):
        batch = [
            center_crop_and_resize(source.image(i), size) for _, source, i in pairs[begin:][:_BATCH]
        ]
        scores.append(feature(tf.stack(batch)).numpy())
    best = np.argsort(-np.concatenate(scores), axis=1)[:, :5]
    right = best == np.array([label for label, _, _ in pairs])[:, np.newaxis]
    print(f"{_FEATURE.value}, {len(pairs)} photographs at {size[0]} pixels")
    print(f"top-1 {right[:, 0].mean():.1%}, top-5 {right.any(axis=1).mean():.1%}")


if __name__ == "__main__":
    runtime.run(main)
