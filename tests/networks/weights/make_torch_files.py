"""Writes torch_tensors.pth and torch_tensors_legacy.pth with PyTorch.

Run once from the repository root, with torch installed:

PYTHONPATH=. python tests/networks/weights/make_torch_files.py
"""

import collections
import importlib
import pathlib

import numpy as np


def expected() -> dict[str, np.ndarray]:
    """Returns the tensors of the files by name; all values are exact in bfloat16."""
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 4 - 2
    return {
        "whole": grid,
        "transposed": grid.transpose(2, 0, 1),
        "stepped": grid[:, ::2, 1::2],
        "offset": grid[1, 1:],
        "half": grid.astype(np.float16),
        "half_stepped": grid.astype(np.float16)[..., ::3],
        "bfloat16": grid,
        "double": grid.astype(np.float64),
        "number": np.float32(7.5).reshape(()),
        "parameter": -grid[0],
    }


def tensors():
    """Returns them as PyTorch tensors that share as few storages as possible."""
    torch = importlib.import_module("torch")  # not a dependency of this project
    grid = torch.from_numpy(expected()["whole"])
    half = grid.half()
    return collections.OrderedDict(
        whole=grid,
        transposed=grid.permute(2, 0, 1),
        stepped=grid[:, ::2, 1::2],
        offset=grid[1, 1:],
        half=half,
        half_stepped=half[..., ::3],
        bfloat16=grid.bfloat16(),
        double=grid.double(),
        number=torch.tensor(7.5),
        parameter=torch.nn.Parameter(-grid[0]),
    )


if __name__ == "__main__":
    torch = importlib.import_module("torch")
    for name, zipped in (("torch_tensors", True), ("torch_tensors_legacy", False)):
        path = pathlib.Path(__file__).with_name(f"{name}.pth")
        torch.save(tensors(), path, _use_new_zipfile_serialization=zipped)
