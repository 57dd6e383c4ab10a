"""Representations Φ: `tfinvert.features.get("hog", image_shape=(64, 64, 3))`.

One file per representation, and one line here.
"""

from tfinvert.features.alexnet import alexnet_tap
from tfinvert.features.applications import find_application, keras_tap
from tfinvert.features.base import Feature
from tfinvert.features.efficientnet_lite import efficientnet_lite0_tap
from tfinvert.features.hog import Hog
from tfinvert.features.host import HostFeature
from tfinvert.features.hub import hub_tap
from tfinvert.features.keras_layer import FeatureLayer
from tfinvert.features.lbp import Lbp
from tfinvert.features.mobilenet_v2 import mobilenet_v2_tap
from tfinvert.features.registry import (
    describe,
    from_description,
    get,
    names,
    register,
    register_family,
    register_finder,
)
from tfinvert.features.sift import Sift
from tfinvert.features.skimage_hog import SkimageHog
from tfinvert.features.skimage_lbp import SkimageLbp
from tfinvert.features.squeezenet import squeezenet_tap

register("hog", Hog)
register("lbp", Lbp)
register("sift", Sift)
register("skimage_hog", SkimageHog)
register("skimage_lbp", SkimageLbp)
register_family("alexnet", alexnet_tap)
register_family("efficientnet_lite0", efficientnet_lite0_tap)
register_family("hub", hub_tap)
register_family("keras", keras_tap)
register_family("mobilenet_v2", mobilenet_v2_tap)
register_family("squeezenet", squeezenet_tap)
register_finder(find_application)

__all__ = [
    "Feature",
    "FeatureLayer",
    "HostFeature",
    "describe",
    "from_description",
    "get",
    "names",
    "register",
    "register_family",
]
