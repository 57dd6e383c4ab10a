"""VLFeat's C library through ctypes, the reference implementation of HOG and LBP.

On Debian and Ubuntu: `apt-get install libvlfeat1`.
"""

import ctypes
import ctypes.util

import numpy as np

_FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")


def library() -> ctypes.CDLL | None:
    """Loads the library and declares its HOG and LBP functions; None if it is not installed."""
    try:
        vl = ctypes.CDLL(ctypes.util.find_library("vl") or "libvl.so.1")
    except OSError:
        return None
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    vl.vl_hog_new.argtypes, vl.vl_hog_new.restype = [ctypes.c_int, size, ctypes.c_int], pointer
    vl.vl_hog_put_image.argtypes = [pointer, _FLOATS, size, size, size, size]
    vl.vl_hog_extract.argtypes = [pointer, _FLOATS]
    vl.vl_hog_delete.argtypes = [pointer]
    for name in ("vl_hog_get_width", "vl_hog_get_height", "vl_hog_get_dimension"):
        getattr(vl, name).argtypes, getattr(vl, name).restype = [pointer], size
    vl.vl_lbp_new.argtypes, vl.vl_lbp_new.restype = [ctypes.c_int, ctypes.c_int], pointer
    vl.vl_lbp_process.argtypes = [pointer, _FLOATS, _FLOATS, size, size, size]
    vl.vl_lbp_delete.argtypes = [pointer]
    return vl


def hog(vl: ctypes.CDLL, image: np.ndarray, cell_size: int = 8) -> np.ndarray:
    """Computes UoCTTI HOG of an image `[H, W, C]`: `[rows, columns, 31]` float32."""
    height, width, channels = image.shape
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    handle = vl.vl_hog_new(1, 9, 0)  # variant UoCTTI, orientations, rows first
    try:
        vl.vl_hog_put_image(handle, planes, width, height, channels, cell_size)
        shape = [
            vl.vl_hog_get_dimension(handle),
            vl.vl_hog_get_height(handle),
            vl.vl_hog_get_width(handle),
        ]
        features = np.empty(shape, np.float32)
        vl.vl_hog_extract(handle, features)
    finally:
        vl.vl_hog_delete(handle)
    return features.transpose(1, 2, 0)


def lbp(vl: ctypes.CDLL, image: np.ndarray, cell_size: int = 16) -> np.ndarray:
    """Computes uniform LBP of a grey image `[H, W, 1]`: `[rows, columns, 58]` float32."""
    height, width, _ = image.shape
    features = np.empty((58, height // cell_size, width // cell_size), np.float32)
    handle = vl.vl_lbp_new(0, 0)  # the uniform patterns, rows first
    try:
        plane = np.ascontiguousarray(image[..., 0], np.float32)
        vl.vl_lbp_process(handle, features, plane, width, height, cell_size)
    finally:
        vl.vl_lbp_delete(handle)
    return features.transpose(1, 2, 0)
