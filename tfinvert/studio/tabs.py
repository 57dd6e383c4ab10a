"""What the page can do with a photograph: each tab's settings, pictures and lines of Python."""

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
_MOST_UNITS = 4096
_NUMPY = "import numpy as np"


class TabInput(NamedTuple):
    """What a tab works on.

    Attributes:
      name: the inverter's.
      inverter: the inverter.
      photo: `[H, W, 3]` in [0, 1], as the inverter takes it.
      second: another photograph, where the tab takes one.
    """

    name: str
    inverter: Inverter
    photo: np.ndarray
    second: Photograph | None


class TabOutput(NamedTuple):
    """What a tab made.

    Attributes:
      rebuilt: `[H, W, 3]` in [0, 1].
      caption: what the page calls it.
      lines: Python that gives `rebuilt` from `inverter` and `photo`.
      imports: lines that these need.
      others: further pictures by caption, likewise.
      features: `[1, ...]` of `rebuilt`; None for those of the photograph as it is.
    """

    rebuilt: np.ndarray
    caption: str
    lines: tuple[str, ...]
    imports: tuple[str, ...] = ()
    others: Mapping[str, np.ndarray] = {}
    features: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Tab:
    """A tab of the page.

    Attributes:
      name: in a link.
      title: on the page.
      about: what it shows, in a sentence.
      controls: its settings. The one called "inverter" is the inverter's name, where there is one.
      make: its pictures; none where it shows no photograph.
      inverter_of: the inverter's name, from the values of the controls.
      bounded: the slider whose highest value depends on the others, and that value.
    """

    name: str
    title: str
    about: str
    controls: tuple[Control, ...]
    make: Callable[[TabInput, Values], TabOutput] | None
    inverter_of: Callable[[Values], str] = lambda values: str(values["inverter"])
    bounded: tuple[str, Callable[[Values], int]] | None = None

    @property
    def defaults(self) -> dict[str, Value]:
        """The values that the page begins with."""
        return {control.name: control.default for control in self.controls}


def _inverters(
    default: str,
    fits: Callable[[str], bool] = lambda name: True,
    drawing: tuple[bool, ...] = (False,),
) -> Choice:
    """Those that draw rebuild as those they are around, and are offered where they draw."""
    entries = [entry for entry in list_inverters() if entry.draws in drawing and fits(entry.name)]
    sizes = {entry.name: _size(entry) for entry in entries}
    names = sorted(sizes, key=lambda name: (name.endswith(THUMBNAIL_SUFFIX), name[:7]))
    return Choice(
        "inverter", "Representation", {x: f"{x} ({sizes[x]})" for x in names}, default, many=True
    )


def _size(entry: ShippedInverter) -> str:
    whole = entry.any_size and not entry.name.endswith(THUMBNAIL_SUFFIX)
    return "any size" if whole else f"{entry.height} pixels"


def _rebuilt(scene: TabInput, values: Values) -> TabOutput:
    del values
    return TabOutput(
        scene.inverter.reconstruct(scene.photo[np.newaxis])[0],
        f"rebuilt from {scene.name}",
        ("rebuilt = inverter.reconstruct(photo[None])[0]",),
    )


def _drawn(scene: TabInput, values: Values) -> TabOutput:
    count, seed = values["count"], values["seed"]
    features = scene.inverter.encode(scene.photo[np.newaxis])
    samples = scene.inverter.sample(features, count, seed=seed)[0]
    others = {f"sample {k}": sample for k, sample in enumerate(samples[1:], 2)}
    return TabOutput(
        samples[0],
        "sample 1",
        (
            "features = inverter.encode(photo[None])",
            f"samples = inverter.sample(features, {count}, seed={seed})[0]",
            "rebuilt = samples[0]",
        ),
        others=others | {"the network's mean": scene.inverter.invert(features)[0]},
    )


_CHANGES: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], str, str]] = {
    "binarise": (lambda f, _: perturbations.binarize(f), "binarize(features)", "binarised"),
    "dropout": (
        lambda f, share: perturbations.dropout(f, np.random.default_rng(0), share),
        "dropout(features, np.random.default_rng(0), {share:g})",
        "{percent} % dropped",
    ),
    "keep": (
        perturbations.keep_largest,
        "keep_largest(features, {share:g})",
        "largest {percent} % kept",
    ),
    "noise": (
        lambda f, share: perturbations.add_noise(f, np.random.default_rng(0), share),
        "add_noise(features, np.random.default_rng(0), {share:g})",
        "noise of {percent} %",
    ),
}


def _perturbed(scene: TabInput, values: Values) -> TabOutput:
    change, line, caption = _CHANGES[values["change"]]
    percent = values["amount"]
    said = {"percent": percent, "share": percent / 100}
    features = scene.inverter.encode(scene.photo[np.newaxis])
    changed = change(features, percent / 100)
    return TabOutput(
        scene.inverter.invert(changed)[0],
        f"{scene.name}, {caption.format(**said)}",
        (
            "features = inverter.encode(photo[None])",
            f"changed = perturbations.{line.format(**said)}",
            "rebuilt = inverter.invert(changed)[0]",
        ),
        ("from tfinvert.analysis import perturbations", *([_NUMPY] if "np." in line else [])),
        {"unchanged": scene.inverter.invert(features)[0]},
        changed,
    )


def _mixed(scene: TabInput, values: Values) -> TabOutput:
    height, width = scene.photo.shape[:2]
    second = scene.second.fitted((height, width))
    start, end = (scene.inverter.encode(each[np.newaxis]) for each in (scene.photo, second))
    t, keep = values["mix"] / 100, values["path"] == "norm"
    features = feature_interpolation.interpolate_features(start, end, t, keep)
    expression, imports = scene.second.fitting(f"({height}, {width})")
    crop = "" if required_size(scene.name, scene.inverter) else f"[:{height}, :{width}]"
    return TabOutput(
        scene.inverter.invert(features)[0][:height, :width],
        f"{scene.name}, {100 - values['mix']} % and {values['mix']} %",
        (
            f"second = {expression}",
            "ends = [inverter.encode(each[None]) for each in (photo, second)]",
            f"mixed = interpolate_features(*ends, {t:g}{', keep_norm=True' if keep else ''})",
            f"rebuilt = inverter.invert(mixed)[0]{crop}",
        ),
        (
            "from tfinvert.analysis.feature_interpolation import interpolate_features",
            *imports,
        ),
        {scene.second.title: second},
        features,
    )


_CLASSES = {
    "keep_top": "the top alone",
    "remove_top": "all but the top",
    "even_out_rest": "all but the top evened out",
    "even_out_top": "the top evened out",
}


def _some_classes(scene: TabInput, values: Values) -> TabOutput:
    name, count = values["classes"], values["count"]
    change = functools.partial(getattr(class_scores, name), count=count)
    features = scene.inverter.encode(scene.photo[np.newaxis])
    if scene.inverter.feature.log_floor:
        changed = change(features)
        line = f"changed = class_scores.{name}(features, {count})"
    else:  # scores, which are changed as the probabilities that they stand for
        changed = class_scores.apply_to_logits(change, features)
        line = (
            f"changed = class_scores.on_logits(lambda p: class_scores.{name}(p, {count}), features)"
        )
    caption = _CLASSES[name].replace("top", "top class" if count == 1 else f"top {count}")
    return TabOutput(
        scene.inverter.invert(changed)[0],
        f"{scene.name}, {caption}",
        (
            "features = inverter.encode(photo[None])",
            line,
            "rebuilt = inverter.invert(changed)[0]",
        ),
        ("from tfinvert.analysis import class_scores",),
        {"all classes": scene.inverter.invert(features)[0]},
        changed,
    )


@functools.cache
def _of_photographs(name: str) -> np.ndarray:
    """The features of the photographs that come with libraries: `[n, ...]`."""
    chosen = load_inverter(name)
    return chosen.encode(read_images(open_source("photos"), required_size(name, chosen)))


def _one_unit(scene: TabInput, values: Values) -> TabOutput:
    features = _of_photographs(scene.name)
    unit, factor = values["unit"], values["strength"] / 100
    cell, said = None, ""
    if features.ndim == 4 and values["where"] == "middle":
        cell = features.shape[1] // 2, features.shape[2] // 2
        said = f", {cell}"
    alone = single_units.isolate_units(features, np.array([unit]), factor, cell)
    alone = single_units.clip_probabilities(scene.inverter, alone)
    size = required_size(scene.name, scene.inverter)
    lines = [
        f'features = inverter.encode(read_images(open_source("photos"), {size}))',
        f"unit = single_units.isolate_units(features, np.array([{unit}]), {factor:g}{said})",
    ]
    if scene.inverter.feature.log_floor:
        lines += ["unit = single_units.clip_probabilities(inverter, unit)"]
    if values["with"] == "photograph":
        own = scene.inverter.encode(scene.photo[np.newaxis])
        features = np.where(alone, alone, own)
        lines += ["unit = np.where(unit, unit, inverter.encode(photo[None]))"]
        caption, before = "in the photograph", scene.inverter.invert(own)[0]
        others = {"unchanged": before}
    else:
        features, caption = alone, "alone"
        others = {"zeros": scene.inverter.invert(np.zeros_like(alone))[0]}
    return TabOutput(
        scene.inverter.invert(features)[0],
        f"{scene.name}, unit {unit} {caption}",
        (*lines, "rebuilt = inverter.invert(unit)[0]"),
        (
            _NUMPY,
            "from tfinvert.analysis import single_units",
            "from tfinvert.data.open_source import open_source",
            "from tfinvert.metrics.evaluation import read_images",
        ),
        others,
        features,
    )


def _of_alexnet(name: str) -> bool:
    return name.startswith("alexnet-")


TABS = (
    Tab(
        "rebuild",
        "Rebuild",
        "What a representation keeps of the photograph: what is sharp it holds, what is blurred "
        "it has thrown away.",
        (_inverters("hog"),),
        _rebuilt,
    ),
    Tab(
        "layers",
        "Layers",
        "From the first layer of AlexNet to its class probabilities.",
        (
            Choice(
                "set",
                "Photographs of",
                {SMALL: "64 pixels", LARGE: "224 pixels (conv1 to conv5)"},
                SMALL,
            ),
            Slider("layer", "Layer", 0, len(ALEXNET_LAYERS) - 1, 0, ALEXNET_LAYERS),
        ),
        _rebuilt,
        lambda values: (
            f"alexnet-{ALEXNET_LAYERS[values['layer']]}{'-64' * (values['set'] == SMALL)}"
        ),
        ("layer", lambda values: (len(ALEXNET_LAYERS) if values["set"] == SMALL else 5) - 1),
    ),
    Tab(
        "perturb",
        "Perturb",
        "Which part of a feature carries the image. All but the noise keep the feature's norm.",
        (
            _inverters(
                "alexnet-conv5", lambda name: _of_alexnet(name) and "probabilities" not in name
            ),
            Choice(
                "change",
                "Change",
                {
                    "binarise": "binarise",
                    "dropout": "drop at random",
                    "keep": "keep the largest",
                    "noise": "add noise",
                },
                "keep",
            ),
            Slider("amount", "Per cent: dropped, kept, or noise by the feature's norm", 0, 100, 25),
        ),
        _perturbed,
    ),
    Tab(
        MIX,
        "Mix",
        "What lies between the features of two photographs.",
        (
            _inverters("alexnet-conv5"),
            Slider("mix", "Per cent of the second photograph", 0, 100, 50),
            Choice("path", "Path", {"straight": "straight", "norm": "norm kept"}, "straight"),
        ),
        _mixed,
    ),
    Tab(
        "classes",
        "Classes",
        "What the most probable classes tell of the image, and what all others do.",
        (
            _inverters(
                "alexnet-probabilities-64", lambda name: "probabilities" in name or "fc8" in name
            ),
            Choice("classes", "Classes left", _CLASSES, "keep_top"),
            Slider("count", "Classes that are the top", 1, 100, 5),
        ),
        _some_classes,
    ),
    Tab(
        "units",
        "Units",
        "One unit, or one channel of a grid, at so many per cent of its largest value over some "
        "photographs.",
        (
            _inverters(
                "alexnet-fc8-64",
                lambda name: _of_alexnet(name) or name in ("hog-64", "lbp-64"),
            ),
            Slider("unit", "Unit", 0, _MOST_UNITS - 1, 0),
            Slider("strength", "Per cent of its largest value", 0, 400, 200),
            Choice(
                "with",
                "Other units",
                {"zeros": "zero", "photograph": "those of the photograph"},
                "zeros",
            ),
            Choice(
                "where",
                "On a grid",
                {"everywhere": "in every cell", "middle": "in the middle"},
                "everywhere",
            ),
        ),
        _one_unit,
        bounded=(
            "unit",
            lambda values: load_inverter(str(values["inverter"])).feature.spec.shape[-1] - 1,
        ),
    ),
    Tab(
        "samples",
        "Samples",
        "Other images that have the same feature, drawn at random: what they share it holds, and "
        "where they differ it has thrown something away.",
        (
            _inverters("hog-samples-64", drawing=(True,)),
            Slider("count", "Samples", 1, 8, 4),
            Slider("seed", "Seed: another one draws others", 0, 99, 0),
        ),
        _drawn,
    ),
    Tab(
        "card", "Card", "What made an inverter.", (_inverters("hog", drawing=(False, True)),), None
    ),
)
TABS_BY_NAME = {tab.name: tab for tab in TABS}
