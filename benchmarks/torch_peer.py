"""Trains the same network on the same images with PyTorch, as a speed reference."""

import importlib.util
import os
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import vlfeat

from tfinvert.data.sources import Source
from tfinvert.features.base import Feature
from tfinvert.features.hog import Hog
from tfinvert.networks import inversion
from tfinvert.training.settings import Settings


def images_per_second(
    feature: Feature, source: Source, settings: Settings, seconds: float
) -> float | None:
    """Measures a plain PyTorch training loop on HOG.

    Returns:
      Images per second; None without torch or libvl, or for other features.
    """
    vl = vlfeat.library()
    if not importlib.util.find_spec("torch") or vl is None or not isinstance(feature, Hog):
        return None
    import torch

    torch.set_num_threads(os.cpu_count())
    network = _port(inversion.build(feature, width=settings.width, network=settings.network)).to(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, eps=1e-7)
    batches = torch.utils.data.DataLoader(
        _Crops(feature, source),
        settings.batch_size,
        # Forking a process that runs TensorFlow may hang; and on two cores, worker processes would
        # slow the step down as much as they speed the loading up.
        num_workers=0,
        shuffle=True,
        drop_last=True,
    )
    half = settings.precision == "bfloat16"

    def endless() -> Iterator[Any]:
        while True:
            yield from batches

    steps, begin = -3, time.perf_counter()
    for images, hog in endless():
        hog = hog.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            rebuilt = network(hog)
        loss = torch.mean((rebuilt.float() - images) ** 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
        optimizer.step()
        steps += 1
        if steps == 0:
            begin = time.perf_counter()
        elif steps > 0 and time.perf_counter() - begin > seconds:
            return steps * settings.batch_size / (time.perf_counter() - begin)
    raise AssertionError("endless")


class _Crops:
    """A PyTorch dataset of random crops and their HOG."""

    def __init__(self, feature: Feature, source: Source):
        self._side, self._source = feature.image_shape[0], source
        self._vl = vlfeat.library()

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        photo, side = self._source.training_image(index), self._side
        top, left = (np.random.randint(extent - side + 1) for extent in photo.shape[:2])
        crop = photo[top : top + side, left : left + side].astype(np.float32) / 255
        if np.random.rand() < 0.5:
            crop = crop[:, ::-1]
        grey = (crop @ np.array([[0.299], [0.587], [0.114]], np.float32)).astype(np.float32)
        hog = vlfeat.hog(self._vl, grey)
        return np.ascontiguousarray(crop.transpose(2, 0, 1)), np.ascontiguousarray(
            hog.transpose(2, 0, 1)
        )


def _port(network: keras.Model) -> Any:
    """Builds a PyTorch module with the layers of a Keras inversion network."""
    import torch

    class SamePadding(torch.nn.Module):
        """Keras' "same" padding: before a convolution; cropping after a transposed one."""

        def __init__(self, layer: torch.nn.Module, sides: tuple[int, int]):
            super().__init__()
            self.layer, self.sides = layer, sides

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            low, high = self.sides
            if isinstance(self.layer, torch.nn.Conv2d):
                return self.layer(torch.nn.functional.pad(x, (low, high, low, high)))
            x = self.layer(x)
            return x[:, :, low : x.shape[2] - high, low : x.shape[3] - high]

    class Ported(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleDict(
                {layer.name: _layer(layer) for layer in network.layers if layer.weights}
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: dict[str, torch.Tensor] = {}
            for layer in network.layers:
                if isinstance(layer, keras.layers.InputLayer):
                    found[layer.output.name] = x
                    continue
                given = layer.input if isinstance(layer.input, list) else [layer.input]
                values = [found[tensor.name] for tensor in given]
                found[layer.output.name] = self.one(layer, values)
            return found[network.output.name]

        def one(self, layer: keras.Layer, values: list[torch.Tensor]) -> torch.Tensor:
            if layer.weights:
                return self.parts[layer.name](values[0])
            if isinstance(layer, keras.layers.LeakyReLU):
                return torch.nn.functional.leaky_relu(values[0], 0.2)
            if isinstance(layer, keras.layers.Concatenate):
                return torch.cat(values, 1)
            if isinstance(layer, keras.layers.Cropping2D):
                (top, bottom), (left, right) = layer.cropping
                x = values[0]
                return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]
            raise TypeError(f"no PyTorch layer for {type(layer).__name__}")

    def _layer(layer: keras.Layer) -> torch.nn.Module:
        (kernel, _), (stride, _) = layer.kernel_size, layer.strides
        channels, filters = layer.input.shape[-1], layer.filters
        total = max(kernel - stride, 0)
        sides = total // 2, total - total // 2
        if isinstance(layer, keras.layers.Conv2DTranspose):
            module = torch.nn.ConvTranspose2d(channels, filters, kernel, stride)
        else:
            module = torch.nn.Conv2d(channels, filters, kernel, stride)
        return SamePadding(module, sides)

    ported = Ported()
    ours = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    theirs = sum(weight.numel() for weight in ported.parameters())
    assert ours == theirs, f"{theirs} weights in PyTorch, {ours} in Keras"
    return ported
