"""The version, for setup.py, saved inverters and reports."""

__version__ = "0.3.0"
