"""Speed of HOG and LBP at 256×256 pixels, compared with VLFeat and scikit-image.

python benchmarks/feature_speed.py
"""

import time
from collections.abc import Callable

import numpy as np
import skimage.feature
import tensorflow as tf
import vlfeat

from tfinvert.data.photos import load_photograph
from tfinvert.features.grayscale import rgb_to_luma
from tfinvert.features.hog import hog
from tfinvert.features.lbp import lbp

SIDE, BATCH, SECONDS = 256, 32, 3.0


def grey_crops() -> np.ndarray:
    """Returns a batch of grey crops of a photograph, `[32, 256, 256, 1]` in [0, 1]."""
    image = rgb_to_luma(load_photograph("astronaut")[np.newaxis] / np.float32(255))[0]
    corners = np.linspace(0, len(image) - SIDE, BATCH).astype(int)
    return np.stack([image[i : i + SIDE, i : i + SIDE] for i in corners])


def images_per_second(run: Callable[[], object], images: int) -> float:
    """Measures the speed of a function of `images` images, after a warm-up call."""
    run()
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        run()
        calls += 1
    return calls * images / (time.perf_counter() - begin)


def ours(feature: Callable[[tf.Tensor], tf.Tensor]) -> dict[str, Callable[[tf.Tensor], object]]:
    """Returns the execution modes of a feature of this package."""
    graph = tf.function(feature)
    compiled = tf.function(feature, jit_compile=True)
    return {
        "tfinvert, XLA": lambda images: compiled(images).numpy(),
        "tfinvert, graph": lambda images: graph(images).numpy(),
    }


def skimage_lbp(plane: np.ndarray) -> np.ndarray:
    """Computes scikit-image's labels of an 8-bit plane, without histograms."""
    return skimage.feature.local_binary_pattern(plane, P=8, R=1, method="nri_uniform")


def main() -> None:
    """Prints one table per feature."""
    images = grey_crops()
    batch, one = tf.constant(images), images[0]
    plane = np.round(255 * one[..., 0]).astype(np.uint8)
    others = {
        "HOG": {"skimage.feature.hog, one thread": lambda: skimage.feature.hog(one[..., 0])},
        "LBP": {"skimage's patterns, one thread": lambda: skimage_lbp(plane)},
    }
    vl = vlfeat.library()
    if vl is not None:
        others["HOG"]["VLFeat C, one thread"] = lambda: vlfeat.hog(vl, one)
        others["LBP"]["VLFeat C, one thread"] = lambda: vlfeat.lbp(vl, one)
    for name, feature in (("HOG", hog), ("LBP", lbp)):
        print(f"{name} of {SIDE}×{SIDE} images, images/s over {SECONDS:.0f} s each")
        for way, run in ours(feature).items():
            print(f"{way:32s} {images_per_second(lambda run=run: run(batch), BATCH):8.0f}")
        for way, run in others[name].items():
            print(f"{way:32s} {images_per_second(run, 1):8.0f}")
    if vl is None:
        print("VLFeat C: libvl.so.1 is not installed")


if __name__ == "__main__":
    main()
