"""Writes alexnet_golden.npz: activations of torchvision's AlexNet with random NumPy weights.

Run once from the repository root, with torch installed:

PYTHONPATH=. python tests/networks/make_alexnet_golden.py
"""

import importlib
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_name("alexnet_golden.npz")
SAMPLES = 200
UNITS = (2048, 1024, 1000)  # fewer than published, which saves 150 MB; fc6 has all its inputs
# Our names for the modules of torchvision, in its order.
FEATURES = (
    *("conv1", "relu1", "pool1", "conv2", "relu2", "pool2"),
    *("conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5"),
)
CLASSIFIER = ("drop6", "fc6", "relu6", "drop7", "fc7", "relu7", "fc8")
TAPS = [name for name in (*FEATURES, *CLASSIFIER, "prob") if name[:4] != "drop"]
SHAPES = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (UNITS[0], 256 * 6 * 6),
    "classifier.4": (UNITS[1], UNITS[0]),
    "classifier.6": (UNITS[2], UNITS[1]),
}


def state_dict() -> dict[str, np.ndarray]:
    """Returns fixed random weights with torchvision's names and the He variance."""
    random = np.random.RandomState(17)
    tensors = {}
    for name, shape in SHAPES.items():
        bound = (6 / np.prod(shape[1:])) ** 0.5
        values = random.randint(-32768, 32768, shape, np.int16).astype(np.float32)
        tensors[f"{name}.weight"] = values * np.float32(bound / 32768)
        tensors[f"{name}.bias"] = random.uniform(-0.3, 0.3, shape[0]).astype(np.float32)
    return tensors


def images() -> np.ndarray:
    """Returns `[2, 224, 224, 3]` in [0, 1], with structure at several scales."""
    random = np.random.RandomState(18)
    total = np.zeros((2, 224, 224, 3))
    for side in (1, 4, 16, 56):
        coarse = random.uniform(size=(2, 224 // side, 224 // side, 3))
        total += coarse.repeat(side, 1).repeat(side, 2)
    return (total / 4).astype(np.float32)


def activations() -> dict[str, np.ndarray]:
    """Computes the activations at each tap with PyTorch, channels last."""
    torch = importlib.import_module("torch")  # not a dependency of this project
    nn = torch.nn

    def block(inputs, outputs, kernel, stride, padding):
        return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]

    network = nn.ModuleDict(
        {
            "features": nn.Sequential(
                *block(3, 64, 11, 4, 2),
                nn.MaxPool2d(3, 2),
                *block(64, 192, 5, 1, 2),
                nn.MaxPool2d(3, 2),
                *block(192, 384, 3, 1, 1),
                *block(384, 256, 3, 1, 1),
                *block(256, 256, 3, 1, 1),
                nn.MaxPool2d(3, 2),
            ),
            "avgpool": nn.AdaptiveAvgPool2d((6, 6)),
            "classifier": nn.Sequential(
                *(nn.Dropout(), nn.Linear(256 * 6 * 6, UNITS[0]), nn.ReLU()),
                *(nn.Dropout(), nn.Linear(UNITS[0], UNITS[1]), nn.ReLU()),
                nn.Linear(UNITS[1], UNITS[2]),
            ),
        }
    ).eval()
    network.load_state_dict({name: torch.from_numpy(x) for name, x in state_dict().items()})
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    activations = {}
    with torch.inference_mode():
        x = ((torch.from_numpy(images()) - mean) / deviation).permute(0, 3, 1, 2)
        for name, layer in zip(FEATURES, network["features"], strict=True):
            x = layer(x)
            activations[name] = x.permute(0, 2, 3, 1).numpy().copy()
        x = torch.flatten(network["avgpool"](x), 1)
        for name, layer in zip(CLASSIFIER, network["classifier"], strict=True):
            x = layer(x)
            activations[name] = x.numpy().copy()
        activations["prob"] = torch.softmax(x, 1).numpy()
    return {name: activations[name] for name in TAPS}


if __name__ == "__main__":
    arrays = {}
    random = np.random.RandomState(19)
    for name, values in activations().items():
        at = np.sort(random.choice(values.size, SAMPLES, replace=False)).astype(np.int32)
        arrays[f"{name}/at"], arrays[f"{name}/values"] = at, values.ravel()[at]
        arrays[f"{name}/largest"] = np.abs(values).max()
    np.savez_compressed(PATH, **arrays)
