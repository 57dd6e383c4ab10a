"""Lazy registry: names, one-line descriptions and import targets, without TensorFlow.

Flags, shell completion and documents take names and descriptions from here. The packages that
implement them look objects up in the same tables, which import a module when one of its names is
first used.
"""

import ast
import contextlib
import functools
import importlib
import importlib.metadata
import pathlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from tfinvert.errors import InputError, first_line

T = TypeVar("T")


class Entry(NamedTuple):
    """A registered name.

    Attributes:
      target: where the object is defined, as "module:attribute".
      description: one line, a noun phrase.
    """

    target: str
    description: str


class Plugin(NamedTuple):
    """An entry point of an installed package that registers a name.

    Attributes:
      package: name and version of the package.
      entry_point: where the object is defined.
    """

    package: str
    entry_point: importlib.metadata.EntryPoint

    def load(self) -> Any:
        """Imports the object.

        Raises:
          InputError: the package cannot be imported, or has no such function or class.
        """
        try:
            loaded = self.entry_point.load()
            if not callable(loaded):
                raise TypeError(f"{self.entry_point.value} is neither a function nor a class")
            return loaded
        except (Exception, SystemExit) as error:  # the package may raise anything
            raise InputError(
                f"{self.entry_point.name} of the package {self.package} cannot be loaded; repair "
                f"or uninstall the package. Received: {type(error).__name__}: {first_line(error)}"
            ) from error


class Registry(Mapping[str, T]):
    """A mapping from names to objects that are imported when they are first looked up.

    Args:
      entries: the entry of each name.
      group: group of entry points by which installed packages register more names. They are read
        when a name is looked up that is not in `entries`, or all names are.
    """

    def __init__(self, entries: Mapping[str, Entry], group: str = ""):
        self._entries = dict(entries)
        self._objects: dict[str, T] = {}
        self._group = group

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            plugins = self.plugins()[name]
            if len(plugins) > 1:
                raise InputError(
                    f"{name} is ambiguous; uninstall all but one of the packages that register it. "
                    f"Received: {', '.join(plugin.package for plugin in plugins)}"
                )
            return plugins[0].load()
        if name not in self._objects:
            self._objects[name] = pkgutil.resolve_name(self._entries[name].target)
        return self._objects[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self.plugins()

    def __len__(self) -> int:
        return len(self._entries) + len(self.plugins())

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.plugins()

    def describe(self, name: str) -> str:
        """The one-line description of a name."""
        if name in self._entries:
            return self._entries[name].description
        return f"from {' and '.join(plugin.package for plugin in self.plugins()[name])}"

    def plugins(self) -> dict[str, list[Plugin]]:
        """The entry points of installed packages by name, without names of the registry's own."""
        found = _find_plugins(self._group, tuple(sys.path)) if self._group else {}
        return {name: plugins for name, plugins in found.items() if name not in self._entries}

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


@functools.lru_cache
def _find_plugins(group: str, path: tuple[str, ...]) -> dict[str, list[Plugin]]:
    """The entry points of a group by name; the first package of a name on the path counts."""
    del path  # the cache's key; importlib.metadata reads sys.path
    found: dict[str, dict[str, Plugin]] = {}
    for distribution in importlib.metadata.distributions():
        try:
            points = [point for point in distribution.entry_points if point.group == group]
            package = f"{distribution.metadata['Name']} {distribution.version}" if points else ""
        except Exception:  # damaged metadata, perhaps of another kind of package
            continue
        for point in points:
            if re.fullmatch(r"[\w.-]+", point.name):  # other characters separate options and layers
                found.setdefault(point.name, {}).setdefault(
                    package.split()[0], Plugin(package, point)
                )
    return {name: [*found[name].values()] for name in sorted(found)}


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
        "onnx": Entry(
            "tfinvert.features.onnx_model:OnnxFeature", "outputs and inner tensors of ONNX models"
        ),
        "python": Entry(
            "tfinvert.features.function:python_feature",
            "functions of your own, as in python:FILE.py:NAME",
        ),
        "sift": Entry("tfinvert.features.sift:Sift", "sparse SIFT descriptors"),
        "skimage_hog": Entry(
            "tfinvert.features.skimage_hog:SkimageHog", "HOG as scikit-image computes it"
        ),
        "skimage_lbp": Entry(
            "tfinvert.features.skimage_lbp:SkimageLbp", "LBP as scikit-image computes it"
        ),
    },
    group="tfinvert.features",
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
    },
    group="tfinvert.feature_families",
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
