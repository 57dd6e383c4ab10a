"""Lazy registry: names, one-line descriptions and import targets, without TensorFlow.

Flags, shell completion and documents take names and descriptions from here. The packages that
implement them look objects up in the same tables, which import a module when one of its names is
first used.
"""

import ast
import contextlib
import functools
import importlib
import pathlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Entry(NamedTuple):
    """A registered name.

    Attributes:
      target: where the object is defined, as "module:attribute".
      description: one line, a noun phrase.
    """

    target: str
    description: str


class Registry(Mapping[str, T]):
    """A mapping from names to objects that are imported when they are first looked up.

    Args:
      entries: the entry of each name.
    """

    def __init__(self, entries: Mapping[str, Entry]):
        self._entries = dict(entries)
        self._objects: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._objects:
            self._objects[name] = pkgutil.resolve_name(self._entries[name].target)
        return self._objects[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def describe(self, name: str) -> str:
        """The one-line description of a name."""
        return self._entries[name].description

    @contextlib.contextmanager
    def scoped(self) -> Iterator[None]:
        """Removes the names that are registered in a block when the block ends."""
        before = dict(self._entries)
        try:
            yield
        finally:
            for name in self._entries.keys() - before.keys():
                self._objects.pop(name, None)
            self._entries = before

    def setdefault(self, name: str, value: T, description: str = "") -> T:
        """Registers an object under a name that is free; the object that has the name then."""
        if name not in self:
            self._entries[name] = Entry("", description)
            self._objects[name] = value
        return self[name]


class ModuleRegistry(Mapping[str, Any]):
    """A registry of the modules of a package, which declare themselves.

    A module's name, with hyphens for underscores, is the registered name, the first line of its
    docstring the description, and its attribute the object. Modules without the attribute are left
    out. Names are ordered by the integer `order` that the object is constructed with. Nothing but
    the package itself is imported before an object is looked up.

    Args:
      package: import path of the package.
      attribute: the attribute's name, for example "EXPERIMENT".
    """

    def __init__(self, package: str, attribute: str):
        self._package, self._attribute = package, attribute

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        module = importlib.import_module(f"{self._package}.{name.replace('-', '_')}")
        return getattr(module, self._attribute)

    def __iter__(self) -> Iterator[str]:
        declared = self._declarations()
        return iter(sorted(declared, key=lambda name: (declared[name].order, name)))

    def __len__(self) -> int:
        return len(self._declarations())

    def __contains__(self, name: object) -> bool:
        return name in self._declarations()

    def describe(self, name: str) -> str:
        """The one-line description of a name."""
        return self._declarations()[name].description

    def _declarations(self) -> dict[str, "_Declaration"]:
        found = {}
        for path in importlib.import_module(self._package).__path__:
            for file in pathlib.Path(path).glob("[!_]*.py"):
                declaration = _read_declaration(file, file.stat().st_mtime_ns, self._attribute)
                if declaration is not None:
                    found[file.stem.replace("_", "-")] = declaration
        return found


class _Declaration(NamedTuple):
    description: str
    order: int


@functools.cache
def _read_declaration(file: pathlib.Path, modified: int, attribute: str) -> _Declaration | None:
    """The declaration in a source file, which is not imported; None where there is none."""
    del modified  # part of the cache's key
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if [getattr(target, "id", None) for target in node.targets] == [attribute]:
            arguments = {keyword.arg: keyword.value for keyword in node.value.keywords}
            order = arguments.get("order", ast.Constant(0))
            line = (ast.get_docstring(tree) or "").partition("\n")[0]
            return _Declaration(line, ast.literal_eval(order))
    return None


FEATURES = Registry(
    {
        "hog": Entry("tfinvert.features.hog:Hog", "histograms of oriented gradients"),
        "lbp": Entry("tfinvert.features.lbp:Lbp", "local binary patterns"),
        "sift": Entry("tfinvert.features.sift:Sift", "sparse SIFT descriptors"),
        "skimage_hog": Entry(
            "tfinvert.features.skimage_hog:SkimageHog", "HOG as scikit-image computes it"
        ),
        "skimage_lbp": Entry(
            "tfinvert.features.skimage_lbp:SkimageLbp", "LBP as scikit-image computes it"
        ),
    }
)

# The features of a family are named FAMILY/LAYER.
FEATURE_FAMILIES = Registry(
    {
        "alexnet": Entry("tfinvert.features.alexnet:alexnet_tap", "layers of AlexNet"),
        "efficientnet_lite0": Entry(
            "tfinvert.features.efficientnet_lite:efficientnet_lite0_tap",
            "layers of EfficientNet-Lite0",
        ),
        "hub": Entry("tfinvert.features.hub:hub_tap", "layers of KerasHub models"),
        "keras": Entry("tfinvert.features.applications:keras_tap", "layers of a .keras file"),
        "mobilenet_v2": Entry(
            "tfinvert.features.mobilenet_v2:mobilenet_v2_tap", "layers of MobileNetV2"
        ),
        "squeezenet": Entry("tfinvert.features.squeezenet:squeezenet_tap", "layers of SqueezeNet"),
    }
)

NETWORKS = Registry(
    {
        "paper": Entry(
            "tfinvert.networks.paper:BUILDERS", "the up-convolutional networks of the paper"
        ),
        "residual": Entry(
            "tfinvert.networks.residual:BUILDERS", "networks with residual blocks before the image"
        ),
    }
)
DEFAULT_NETWORK = "residual"

LOSSES = Registry(
    {
        "mse": Entry("tfinvert.training.losses.pixel:make_mse", "mean squared error"),
        "mae": Entry("tfinvert.training.losses.pixel:make_mae", "mean absolute error"),
        "ssim": Entry("tfinvert.training.losses.pixel:ssim_loss", "1 minus structural similarity"),
        "perceptual": Entry(
            "tfinvert.training.losses.perceptual:perceptual_loss",
            "LPIPS, or a distance in the named layers of a network",
        ),
        "adversarial": Entry(
            "tfinvert.training.losses.adversarial:AdversarialLoss",
            "loss of a discriminator that is trained alongside",
        ),
    }
)

OPTIMIZERS = Registry(
    {
        "adam": Entry("tfinvert.training.optimizers:make_adam", "Adam"),
        "adamw": Entry("tfinvert.training.optimizers:make_adamw", "Adam with weight decay"),
        "muon": Entry("tfinvert.training.optimizers:make_muon", "Muon with weight decay"),
    }
)

ENDPOINTS = Registry(
    {
        "serving_default": Entry(
            "tfinvert.serving.endpoints:make_serving_default", "from images to reconstructions"
        ),
        "reconstruct_bytes": Entry(
            "tfinvert.serving.endpoints:make_reconstruct_bytes",
            "from JPEG or PNG files to PNG files",
        ),
        "invert": Entry(
            "tfinvert.serving.endpoints:make_invert", "from features to reconstructions"
        ),
    }
)

# What features do with a package beside them.
FEATURE_TOOLS = Registry(
    {
        "read_photograph": Entry(
            "tfinvert.data.cropping:read_photograph", "reading of files and Pillow images"
        )
    }
)

# What `Inverter` does with packages that depend on it.
INVERTER_TOOLS = Registry(
    {
        "export": Entry("tfinvert.serving.export:export_savedmodel", "export as a SavedModel"),
        "show": Entry(
            "tfinvert.reporting.comparison:compare", "comparison of images and reconstructions"
        ),
        "summary": Entry("tfinvert.reporting.comparison:summary_html", "summary for notebooks"),
    }
)

EXPERIMENTS = ModuleRegistry("tfinvert.analysis.experiments", "EXPERIMENT")
COMMANDS = ModuleRegistry("tfinvert.commands.flags", "COMMAND")
