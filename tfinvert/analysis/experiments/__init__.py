"""Experiments, one in each file: measurement, presentation and declaration."""
