"""Inverters: a feature, its standardisation and its trained network, as one saved artefact."""

from tfinvert.inverter.model import Inverter, load

__all__ = ["Inverter", "load"]
