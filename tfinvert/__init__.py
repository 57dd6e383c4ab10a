"""tfinvert: see what a visual representation keeps and what it throws away.

Trains up-convolutional networks that turn features back into images (Dosovitskiy & Brox,
"Inverting Visual Representations with Convolutional Networks", CVPR 2016).
"""

import os

# Before TensorFlow is imported; what is set already counts. Its notes on instruction sets, missing
# CUDA and graph rewriting would otherwise open the output of every program. And where a processor
# has no AVX-512 it leaves oneDNN alone, with which training takes half the time there too.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from tfinvert import features
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter, load
from tfinvert.releases import shipped
from tfinvert.version import __version__

__all__ = ["Inverter", "InputError", "__version__", "features", "load", "shipped"]
