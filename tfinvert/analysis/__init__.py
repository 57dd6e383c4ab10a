"""Experiments on inverters, the baselines they are compared with, and analysis functions."""
