"""Makes hog_golden.npz with VLFeat's C library; needs libvl.so.1. Run once, from the root:

PYTHONPATH=.:benchmarks python tests/features/make_hog_golden.py
"""

import pathlib

import numpy as np
import vlfeat

from tfinvert.data.photos import photograph

CASES = {
    "square_grey": photograph("astronaut")[100:164, 180:244, 1:2],
    "odd_grey": photograph("coffee")[120:187, 200:301, :1],
    "odd_color": photograph("chelsea")[60:139, 100:167],
    "small_color": photograph("rocket")[150:166, 300:320],
}

if __name__ == "__main__":
    vl = vlfeat.library()
    if vl is None:
        raise SystemExit("libvl.so.1 is not installed")
    arrays = {}
    for case, image in CASES.items():
        arrays[f"{case}/image"] = image
        arrays[f"{case}/hog"] = vlfeat.hog(vl, image / np.float32(255))
    np.savez_compressed(pathlib.Path(__file__).with_name("hog_golden.npz"), **arrays)
