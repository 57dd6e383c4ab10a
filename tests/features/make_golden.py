"""Writes the golden vectors of HOG and LBP with VLFeat's C library; needs libvl.so.1.

Run once, from the root:

PYTHONPATH=.:benchmarks python tests/features/make_golden.py
"""

import pathlib

import numpy as np
import vlfeat

from tfinvert.data.photos import load_photograph

HOG = {
    "square_grey": load_photograph("astronaut")[100:164, 180:244, 1:2],
    "odd_grey": load_photograph("coffee")[120:187, 200:301, :1],
    "odd_color": load_photograph("chelsea")[60:139, 100:167],
    "small_color": load_photograph("rocket")[150:166, 300:320],
}
# Images and cell sizes.
LBP = {
    "square_16": (load_photograph("astronaut")[100:164, 180:244, 1:2], 16),
    "square_8": (load_photograph("astronaut")[100:164, 180:244, 1:2], 8),
    "odd_16": (load_photograph("chelsea")[60:143, 100:167, 1:2], 16),
    "odd_8": (load_photograph("coffee")[120:187, 200:301, :1], 8),
    "odd_5": (load_photograph("chelsea")[100:133, 150:194, :1], 5),
    "one_cell": (load_photograph("rocket")[150:166, 300:320, :1], 16),
}


def hog_arrays(vl) -> dict[str, np.ndarray]:
    """The image of each case, uint8 `[H, W, C]`, and its HOG (cell size 8)."""
    arrays = {}
    for case, image in HOG.items():
        arrays[f"{case}/image"] = image
        arrays[f"{case}/hog"] = vlfeat.hog(vl, image / np.float32(255))
    return arrays


def lbp_arrays(vl) -> dict[str, np.ndarray]:
    """The image of each case, uint8 `[H, W, 1]`, its cell size and its LBP."""
    arrays = {}
    for case, (image, cell_size) in LBP.items():
        arrays[f"{case}/image"] = image
        arrays[f"{case}/cell_size"] = np.int32(cell_size)
        arrays[f"{case}/lbp"] = vlfeat.lbp(vl, image / np.float32(255), cell_size)
    return arrays


if __name__ == "__main__":
    vl = vlfeat.library()
    if vl is None:
        raise SystemExit("libvl.so.1 is not installed")
    for name, arrays in (("hog", hog_arrays(vl)), ("lbp", lbp_arrays(vl))):
        np.savez_compressed(pathlib.Path(__file__).with_name(f"{name}_golden.npz"), **arrays)
