"""Inversion networks as Keras functional models; no training code."""
