"""Images a second of our HOG beside VLFeat's C code and scikit-image's, on 256×256 photographs.

python benchmarks/hog_speed.py
"""

import time
from collections.abc import Callable

import numpy as np
import skimage.feature
import tensorflow as tf
import vlfeat

from tfinvert.data.photos import photograph
from tfinvert.features.hog import hog

SIDE, BATCH, SECONDS = 256, 32, 3.0


def grey_crops() -> np.ndarray:
    """A batch of crops of a photograph: `[32, 256, 256, 1]` in [0, 1]."""
    grey = tf.image.rgb_to_grayscale(photograph("astronaut") / np.float32(255)).numpy()
    corners = np.linspace(0, len(grey) - SIDE, BATCH).astype(int)
    return np.stack([grey[i : i + SIDE, i : i + SIDE] for i in corners])


def images_per_second(run: Callable[[], object], images: int) -> float:
    """The speed of calls that treat so many images each, after one call that is not counted."""
    run()
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        run()
        calls += 1
    return calls * images / (time.perf_counter() - begin)


def main() -> None:
    """Prints the table."""
    images = grey_crops()
    tensor = tf.constant(images)
    graph = tf.function(hog)
    compiled = tf.function(hog, jit_compile=True)
    ways = {
        "tfinvert, XLA": (lambda: compiled(tensor).numpy(), BATCH),
        "tfinvert, graph": (lambda: graph(tensor).numpy(), BATCH),
        "skimage.feature.hog, one thread": (lambda: skimage.feature.hog(images[0, ..., 0]), 1),
    }
    vl = vlfeat.library()
    if vl is not None:
        ways["VLFeat C, one thread"] = (lambda: vlfeat.hog(vl, images[0]), 1)
    print(f"HOG of {SIDE}×{SIDE} images, images/s over {SECONDS:.0f} s each")
    for name, (run, count) in ways.items():
        print(f"{name:32s} {images_per_second(run, count):8.0f}")
    if vl is None:
        print("VLFeat C: libvl.so.1 is not installed")


if __name__ == "__main__":
    main()
