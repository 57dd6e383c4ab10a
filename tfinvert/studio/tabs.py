"""The tabs of the page: their controls, computations and Python code."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tfinvert.analysis import class_scores, feature_interpolation, perturbations, single_units
from tfinvert.data.open_source import open_source
from tfinvert.inverter import Inverter
from tfinvert.metrics.evaluation import read_images
from tfinvert.studio.controls import Choice, Control, Slider, Value
from tfinvert.studio.photographs import THUMBNAIL_SUFFIX, Photograph, load_inverter, required_size
from tfinvert.zoo.registry import ShippedInverter, list_inverters

Values = Mapping[str, Value]

ALEXNET_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8", "probabilities")
SMALL, LARGE = "64", "224"
MIX = "mix"
_MAX_UNITS = 4096
_IMPORT_NUMPY = "import numpy as np"


class TabInput(NamedTuple):
    """The input of a tab's computation.

    Attributes:
      name: the inverter's name.
      inverter: the inverter.
      photo: the photograph, `[H, W, 3]` in [0, 1], in the size that the inverter needs.
      second: the second photograph on the tab "mix", else None.
    """

    name: str
    inverter: Inverter
    photo: np.ndarray
    second: Photograph | None


class TabOutput(NamedTuple):
    """The result of a tab's computation.

    Attributes:
      reconstruction: `[H, W, 3]` in [0, 1].
      caption: caption of the reconstruction.
      lines: Python code that computes `reconstruction` from `inverter` and `photo`.
      imports: import lines that the code needs.
      others: caption → further picture, `[H, W, 3]` in [0, 1].
      features: the inverted features, `[1, ...]`; None for those of the photograph.
    """

    reconstruction: np.ndarray
    caption: str
    lines: tuple[str, ...]
    imports: tuple[str, ...] = ()
    others: Mapping[str, np.ndarray] = {}
    features: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Tab:
    """A tab of the page.

    Attributes:
      name: parameter value in links.
      title: title on the page.
      description: one sentence about the tab.
      controls: the tab's controls; the one called "inverter", if any, selects the inverter.
      compute: the tab's computation; None if the tab shows no photograph.
      inverter_name: returns the inverter's name for the values of the controls.
      slider_limit: name of the slider whose maximum depends on the other controls, and a function
        that returns the maximum for the values of the controls.
    """

    name: str
    title: str
    description: str
    controls: tuple[Control, ...]
    compute: Callable[[TabInput, Values], TabOutput] | None
    inverter_name: Callable[[Values], str] = lambda values: str(values["inverter"])
    slider_limit: tuple[str, Callable[[Values], int]] | None = None

    @property
    def defaults(self) -> dict[str, Value]:
        """Initial values of the controls."""
        return {control.name: control.default for control in self.controls}


def _inverter_choice(
    default: str,
    accepts: Callable[[str], bool] = lambda name: True,
    sampling: tuple[bool, ...] = (False,),
) -> Choice:
    """Creates the choice of an inverter.

    Args:
      default: name of the initially selected inverter.
      accepts: returns whether the inverter of a name is offered.
      sampling: which inverters are offered: with a sampler (True), without (False), or both. An
        inverter with a sampler has the same reconstructions as the one it was trained from.
    """
    entries = [e for e in list_inverters() if e.supports_sampling in sampling and accepts(e.name)]
    labels = {entry.name: f"{entry.name} ({_size_text(entry)})" for entry in entries}
    names = sorted(labels, key=lambda name: (name.endswith(THUMBNAIL_SUFFIX), name[:7]))
    options = {name: labels[name] for name in names}
    return Choice("inverter", "Representation", options, default, dropdown=True)


def _size_text(entry: ShippedInverter) -> str:
    any_size = entry.any_size and not entry.name.endswith(THUMBNAIL_SUFFIX)
    return "any size" if any_size else f"{entry.height} pixels"


def _reconstruct(tab_input: TabInput, values: Values) -> TabOutput:
    del values
    return TabOutput(
        tab_input.inverter.reconstruct(tab_input.photo[np.newaxis])[0],
        f"reconstruction from {tab_input.name}",
        ("reconstruction = inverter.reconstruct(photo[None])[0]",),
    )


def _sample(tab_input: TabInput, values: Values) -> TabOutput:
    count, seed = values["count"], values["seed"]
    features = tab_input.inverter.encode(tab_input.photo[np.newaxis])
    samples = tab_input.inverter.sample(features, count, seed=seed)[0]
    others = {f"sample {k}": sample for k, sample in enumerate(samples[1:], 2)}
    return TabOutput(
        samples[0],
        "sample 1",
        (
            "features = inverter.encode(photo[None])",
            f"samples = inverter.sample(features, {count}, seed={seed})[0]",
            "reconstruction = samples[0]",
        ),
        others=others | {"reconstruction": tab_input.inverter.invert(features)[0]},
    )


# Value of the control → function of (features, amount), its Python code, caption.
_PERTURBATIONS: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], str, str]] = {
    "binarise": (
        lambda features, _: perturbations.binarize(features),
        "binarize(features)",
        "binarised",
    ),
    "dropout": (
        lambda features, rate: perturbations.dropout(features, np.random.default_rng(0), rate),
        "dropout(features, np.random.default_rng(0), {fraction:g})",
        "{percent} % dropped",
    ),
    "keep": (
        perturbations.keep_largest,
        "keep_largest(features, {fraction:g})",
        "largest {percent} % kept",
    ),
    "noise": (
        lambda features, level: perturbations.add_noise(features, np.random.default_rng(0), level),
        "add_noise(features, np.random.default_rng(0), {fraction:g})",
        "{percent} % noise",
    ),
}


def _perturb(tab_input: TabInput, values: Values) -> TabOutput:
    perturbation, code, caption = _PERTURBATIONS[values["change"]]
    percent = values["amount"]
    amounts = {"percent": percent, "fraction": percent / 100}
    features = tab_input.inverter.encode(tab_input.photo[np.newaxis])
    perturbed = perturbation(features, percent / 100)
    return TabOutput(
        tab_input.inverter.invert(perturbed)[0],
        f"{tab_input.name}, {caption.format(**amounts)}",
        (
            "features = inverter.encode(photo[None])",
            f"features = perturbations.{code.format(**amounts)}",
            "reconstruction = inverter.invert(features)[0]",
        ),
        ("from tfinvert.analysis import perturbations", *([_IMPORT_NUMPY] * ("np." in code))),
        {"unperturbed": tab_input.inverter.invert(features)[0]},
        perturbed,
    )


def _interpolate(tab_input: TabInput, values: Values) -> TabOutput:
    height, width = tab_input.photo.shape[:2]
    second = tab_input.second.resize((height, width))
    first_features, second_features = (
        tab_input.inverter.encode(photo[np.newaxis]) for photo in (tab_input.photo, second)
    )
    t, keep_norm = values["mix"] / 100, values["path"] == "norm"
    features = feature_interpolation.interpolate_features(
        first_features, second_features, t, keep_norm
    )
    expression, imports = tab_input.second.resize_code(f"({height}, {width})")
    arguments = f"{t:g}{', keep_norm=True' if keep_norm else ''}"
    crop = "" if required_size(tab_input.name, tab_input.inverter) else f"[:{height}, :{width}]"
    return TabOutput(
        tab_input.inverter.invert(features)[0][:height, :width],
        f"{tab_input.name}, {100 - values['mix']} % and {values['mix']} %",
        (
            f"second = {expression}",
            "endpoints = [inverter.encode(each[None]) for each in (photo, second)]",
            f"features = interpolate_features(*endpoints, {arguments})",
            f"reconstruction = inverter.invert(features)[0]{crop}",
        ),
        ("from tfinvert.analysis.feature_interpolation import interpolate_features", *imports),
        {tab_input.second.title: second},
        features,
    )


# Value of the control → function of `class_scores`, label of the option, caption.
_CLASS_CHANGES = {
    "keep_top": (class_scores.keep_top, "top classes only", "{top} only"),
    "remove_top": (class_scores.remove_top, "all but the top classes", "all but the {top}"),
    "even_out_rest": (
        class_scores.equalize_rest,
        "top classes, the rest equalised",
        "{top}, the rest equalised",
    ),
    "even_out_top": (class_scores.equalize_top, "top classes equalised", "{top} equalised"),
}


def _change_classes(tab_input: TabInput, values: Values) -> TabOutput:
    function, _, caption = _CLASS_CHANGES[values["classes"]]
    count, name = values["count"], function.__name__
    change = functools.partial(function, count=count)
    features = tab_input.inverter.encode(tab_input.photo[np.newaxis])
    if tab_input.inverter.feature.log_floor:
        changed = change(features)
        line = f"features = class_scores.{name}(features, {count})"
    else:  # logits, which are changed by way of their probabilities
        changed = class_scores.apply_to_logits(change, features)
        line = (
            "features = class_scores.apply_to_logits("
            f"lambda p: class_scores.{name}(p, {count}), features)"
        )
    caption = caption.format(top="top class" if count == 1 else f"top {count}")
    return TabOutput(
        tab_input.inverter.invert(changed)[0],
        f"{tab_input.name}, {caption}",
        (
            "features = inverter.encode(photo[None])",
            line,
            "reconstruction = inverter.invert(features)[0]",
        ),
        ("from tfinvert.analysis import class_scores",),
        {"all classes": tab_input.inverter.invert(features)[0]},
        changed,
    )


@functools.cache
def _encode_photographs(name: str) -> np.ndarray:
    """Encodes the example photographs of the libraries: `[n, ...]`."""
    inverter = load_inverter(name)
    return inverter.encode(read_images(open_source("photos"), required_size(name, inverter)))


def _isolate_unit(tab_input: TabInput, values: Values) -> TabOutput:
    inverter = tab_input.inverter
    features = _encode_photographs(tab_input.name)
    unit, factor = values["unit"], values["strength"] / 100
    cell, cell_argument = None, ""
    if features.ndim == 4 and values["where"] == "middle":
        cell = features.shape[1] // 2, features.shape[2] // 2
        cell_argument = f", {cell}"
    isolated = single_units.isolate_units(features, np.array([unit]), factor, cell)
    isolated = single_units.clip_probabilities(inverter, isolated)
    size = required_size(tab_input.name, inverter)
    lines = [
        f'features = inverter.encode(read_images(open_source("photos"), {size}))',
        "unit = single_units.isolate_units("
        f"features, np.array([{unit}]), {factor:g}{cell_argument})",
    ]
    if inverter.feature.log_floor:
        lines += ["unit = single_units.clip_probabilities(inverter, unit)"]
    if values["with"] == "photograph":
        photo_features = inverter.encode(tab_input.photo[np.newaxis])
        features = np.where(isolated, isolated, photo_features)
        lines += ["unit = np.where(unit, unit, inverter.encode(photo[None]))"]
        caption = "in the photograph"
        others = {"unchanged": inverter.invert(photo_features)[0]}
    else:
        features, caption = isolated, "only"
        others = {"all units zero": inverter.invert(np.zeros_like(isolated))[0]}
    return TabOutput(
        inverter.invert(features)[0],
        f"{tab_input.name}, unit {unit} {caption}",
        (*lines, "reconstruction = inverter.invert(unit)[0]"),
        (
            _IMPORT_NUMPY,
            "from tfinvert.analysis import single_units",
            "from tfinvert.data.open_source import open_source",
            "from tfinvert.metrics.evaluation import read_images",
        ),
        others,
        features,
    )


def _alexnet_name(values: Values) -> str:
    suffix = THUMBNAIL_SUFFIX if values["set"] == SMALL else ""
    return f"alexnet-{ALEXNET_LAYERS[values['layer']]}{suffix}"


def _is_alexnet(name: str) -> bool:
    return name.startswith("alexnet-")


TABS = (
    Tab(
        "rebuild",
        "Reconstruct",
        "Reconstructs the photograph from a representation. The representation preserves the "
        "details that are sharp, and discards those that are blurred.",
        (_inverter_choice("hog"),),
        _reconstruct,
    ),
    Tab(
        "layers",
        "Layers",
        "Reconstructs the photograph from each layer of AlexNet, up to the class probabilities.",
        (
            Choice(
                "set",
                "Image size",
                {SMALL: "64 pixels", LARGE: "224 pixels (conv1 to conv5)"},
                SMALL,
            ),
            Slider("layer", "Layer", 0, len(ALEXNET_LAYERS) - 1, 0, ALEXNET_LAYERS),
        ),
        _reconstruct,
        _alexnet_name,
        ("layer", lambda values: (len(ALEXNET_LAYERS) if values["set"] == SMALL else 5) - 1),
    ),
    Tab(
        "perturb",
        "Perturb",
        "Perturbs the feature, to show which part of it carries the image. All perturbations "
        "except noise preserve the feature's norm.",
        (
            _inverter_choice(
                "alexnet-conv5", lambda name: _is_alexnet(name) and "probabilities" not in name
            ),
            Choice(
                "change",
                "Perturbation",
                {
                    "binarise": "binarise",
                    "dropout": "drop entries at random",
                    "keep": "keep the largest entries",
                    "noise": "add noise",
                },
                "keep",
            ),
            Slider(
                "amount",
                "Amount in per cent: entries dropped or kept, or noise relative to the norm",
                0,
                100,
                25,
            ),
        ),
        _perturb,
    ),
    Tab(
        MIX,
        "Mix",
        "Interpolates between the features of two photographs.",
        (
            _inverter_choice("alexnet-conv5"),
            Slider("mix", "Weight of the second photograph in per cent", 0, 100, 50),
            Choice(
                "path",
                "Interpolation",
                {"straight": "linear", "norm": "norm-preserving"},
                "straight",
            ),
        ),
        _interpolate,
    ),
    Tab(
        "classes",
        "Classes",
        "Changes the class scores, to show how much of the image the most probable classes "
        "determine, and how much all others.",
        (
            _inverter_choice(
                "alexnet-probabilities-64", lambda name: "probabilities" in name or "fc8" in name
            ),
            Choice(
                "classes",
                "Classes",
                {key: label for key, (_, label, _) in _CLASS_CHANGES.items()},
                "keep_top",
            ),
            Slider("count", "Number of top classes", 1, 100, 5),
        ),
        _change_classes,
    ),
    Tab(
        "units",
        "Units",
        "Sets one unit, or one channel of a grid, to a percentage of its maximum over a set of "
        "photographs.",
        (
            _inverter_choice(
                "alexnet-fc8-64",
                lambda name: _is_alexnet(name) or name in ("hog-64", "lbp-64"),
            ),
            Slider("unit", "Unit", 0, _MAX_UNITS - 1, 0),
            Slider("strength", "Value in per cent of the unit's maximum", 0, 400, 200),
            Choice(
                "with",
                "Other units",
                {"zeros": "zero", "photograph": "as in the photograph"},
                "zeros",
            ),
            Choice(
                "where",
                "Cells (grids only)",
                {"everywhere": "all cells", "middle": "central cell"},
                "everywhere",
            ),
        ),
        _isolate_unit,
        slider_limit=(
            "unit",
            lambda values: load_inverter(str(values["inverter"])).feature.spec.shape[-1] - 1,
        ),
    ),
    Tab(
        "samples",
        "Samples",
        "Draws random images that have the same feature: the feature determines what they share, "
        "and leaves open where they differ.",
        (
            _inverter_choice("hog-samples-64", sampling=(True,)),
            Slider("count", "Number of samples", 1, 8, 4),
            Slider("seed", "Random seed", 0, 99, 0),
        ),
        _sample,
    ),
    Tab(
        "card",
        "Card",
        "Shows the card of an inverter: training data, settings, errors and versions.",
        (_inverter_choice("hog", sampling=(False, True)),),
        None,
    ),
)
TABS_BY_NAME = {tab.name: tab for tab in TABS}
