"""Published weights of AlexNet, SqueezeNet, mobile networks and LPIPS: read, validated, assigned.

The functions and names exported here are for AlexNet.
"""

from tfinvert.networks.weights.alexnet import Weights, assign, read, save
from tfinvert.networks.weights.locations import NAMES, find

__all__ = ["NAMES", "Weights", "assign", "find", "read", "save"]
