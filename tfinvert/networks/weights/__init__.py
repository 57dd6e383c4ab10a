"""Published AlexNet weights: read from the files people have, checked, put into our models."""

from tfinvert.networks.weights.locations import NAMES, find
from tfinvert.networks.weights.reading import read
from tfinvert.networks.weights.safetensors_files import save
from tfinvert.networks.weights.values import Weights, assign

__all__ = ["NAMES", "Weights", "assign", "find", "read", "save"]
