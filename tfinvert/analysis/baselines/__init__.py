"""Inversion methods without a network, as baselines for inversion networks.

Dosovitskiy & Brox 2016 compare with HOGgles and with the gradient-based inversion of Mahendran &
Vedaldi; the simpler baselines put those errors into perspective.
"""

from tfinvert.analysis.baselines.base import Baseline
from tfinvert.analysis.baselines.gradient_inversion import GradientInversion
from tfinvert.analysis.baselines.paired_dictionary import PairedDictionary
from tfinvert.analysis.baselines.simple import CellRidge, MeanImage, NearestNeighbor

__all__ = [
    "Baseline",
    "CellRidge",
    "GradientInversion",
    "MeanImage",
    "NearestNeighbor",
    "PairedDictionary",
]
