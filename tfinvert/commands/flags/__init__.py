"""Declarations of the commands: help texts and flags, without TensorFlow."""
