"""Representations Φ: `tfinvert.features.get("hog", image_shape=(64, 64, 3))`.

One file per representation, which `tfinvert.config.registry` lists.
"""

from tfinvert.features.applications import find_application
from tfinvert.features.base import Feature, FeatureSpec
from tfinvert.features.function import find_function, from_function
from tfinvert.features.host import HostFeature
from tfinvert.features.keras_layer import FeatureLayer
from tfinvert.features.registry import (
    describe,
    from_description,
    get,
    names,
    register,
    register_family,
    register_finder,
)
from tfinvert.features.stored import StoredFeature, find_stored

register_finder(find_application)
register_finder(find_function)
register_finder(find_stored)

__all__ = [
    "Feature",
    "FeatureLayer",
    "FeatureSpec",
    "HostFeature",
    "StoredFeature",
    "describe",
    "from_description",
    "from_function",
    "get",
    "names",
    "register",
    "register_family",
]
