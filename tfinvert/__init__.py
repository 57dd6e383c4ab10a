"""tfinvert: see what a visual representation keeps and what it throws away.

Trains up-convolutional networks that turn features back into images (Dosovitskiy & Brox,
"Inverting Visual Representations with Convolutional Networks", CVPR 2016).
"""

import os

# Before TensorFlow is imported: its notes on instruction sets, missing CUDA and graph rewriting
# would otherwise open the output of every program. Set the variable yourself to see them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfinvert import features
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter, load, shipped
from tfinvert.version import __version__

__all__ = ["Inverter", "InputError", "__version__", "features", "load", "shipped"]
