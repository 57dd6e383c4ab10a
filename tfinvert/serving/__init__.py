"""Export of inverters as SavedModels for TensorFlow Serving."""

from tfinvert.config.registry import ENDPOINTS
from tfinvert.serving.check import check_savedmodel
from tfinvert.serving.export import export_savedmodel

__all__ = ["ENDPOINTS", "check_savedmodel", "export_savedmodel"]
