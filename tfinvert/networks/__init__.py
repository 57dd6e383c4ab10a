"""Keras functional models: inversion networks, discriminators, samplers and the encoders."""
