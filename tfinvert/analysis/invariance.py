"""How far a reconstruction follows when the photograph is transformed (section 5 of the paper).

A layer that has become invariant to a transformation gives back the same image as before; one that
has not gives back the transformed image.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy.stats
import tqdm

from tfinvert import metrics
from tfinvert.analysis.inverters import NETWORK, kind, labels, layer_of
from tfinvert.analysis.parts import NOTHING_KEPT, Arrays, Parts
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting import plots
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

TURNS = (5.0, 10.0, 20.0, 45.0)
SHIFTS = (1 / 16, 1 / 8, 1 / 4)
SCALES = (1.1, 1.25, 1.5)
BLURS = (1 / 64, 1 / 32, 1 / 16)
_BORDER = cv2.BORDER_REFLECT_101
_BATCH = 64
_PAIRED = 128  # photographs whose features are measured against each other
_FEWEST = 3  # layers of one network that have a rank correlation
_CONFIRMS = -0.5

COEFFICIENT, COEFFICIENT_SE = "coefficient", "standard error"
FEATURE = "change of the feature"
AVERAGE = "average"


def turn(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turned about its middle, anticlockwise: `[H, W, 3]` in [0, 1], as the following."""
    return _warp(image, cv2.getRotationMatrix2D(_middle(image), degrees, 1.0))


def shift(image: np.ndarray, fraction: float) -> np.ndarray:
    """Moved to the right by a fraction of its width."""
    return _warp(image, np.float64([[1, 0, fraction * image.shape[1]], [0, 1, 0]]))


def scale(image: np.ndarray, factor: float) -> np.ndarray:
    """Enlarged about its middle."""
    return _warp(image, cv2.getRotationMatrix2D(_middle(image), 0.0, factor))


def mirror(image: np.ndarray, _: float) -> np.ndarray:
    """Left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def blur(image: np.ndarray, fraction: float) -> np.ndarray:
    """Blurred by a Gaussian whose standard deviation is a fraction of the width."""
    return cv2.GaussianBlur(image, (0, 0), fraction * image.shape[1], borderType=_BORDER)


class Transformation(NamedTuple):
    """A change of images, the same at every size.

    Attributes:
      name: what has happened to the image.
      strength: in its unit.
      unit: as a word behind the number.
      function: `(image, strength)` gives an image.
      either_way: whether a negative strength goes the other way.
    """

    name: str
    strength: float
    unit: str
    function: Callable[[np.ndarray, float], np.ndarray]
    either_way: bool = False

    @property
    def label(self) -> str:
        """With its strength, for example "turned 20°"."""
        return f"{self.name} {self.strength:.3g}{self.unit}" if self.unit else self.name

    def __call__(self, images: np.ndarray, ways: np.ndarray) -> np.ndarray:
        """`[n, H, W, 3]` in [0, 1] transformed; `ways` are `[n]`, 1 or -1."""
        strengths = self.strength * (ways if self.either_way else np.ones(len(images)))
        return np.stack(
            [self.function(*each) for each in zip(images, strengths.tolist(), strict=True)]
        )


def transformations(
    turns: Sequence[float] = TURNS,
    shifts: Sequence[float] = SHIFTS,
    scales: Sequence[float] = SCALES,
    blurs: Sequence[float] = BLURS,
) -> list[Transformation]:
    """Those of `invariance`, by kind and in each kind as given."""
    return [
        *[Transformation("turned", x, "°", turn, either_way=True) for x in turns],
        *[Transformation("shifted", x, " widths", shift, either_way=True) for x in shifts],
        *[Transformation("scaled", x, "×", scale) for x in scales],
        Transformation("mirrored", 1.0, "", mirror),
        *[Transformation("blurred", x, " widths", blur) for x in blurs],
    ]


def following(
    rebuilt: np.ndarray, moved: np.ndarray, of_moved: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a reconstruction's change has in common with the change it would have to make.

    Args:
      rebuilt: `[n, H, W, 3]`, what is rebuilt from the photographs.
      moved: the same, transformed.
      of_moved: what is rebuilt from the transformed photographs.

    Returns:
      <of_moved - rebuilt, moved - rebuilt> and ‖moved - rebuilt‖², `[n]` each. Their ratio is 1 if
      the reconstruction follows exactly, and 0 if it stays.
    """
    wanted, found = (moved - rebuilt).astype(np.float64), of_moved - rebuilt
    return np.einsum("nhwc,nhwc->n", found, wanted), np.einsum("nhwc,nhwc->n", wanted, wanted)


def ratios(numerators: np.ndarray, denominators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of sums over images, and what each image does to them.

    Args:
      numerators: `[k, n]`, of k measures and n images.
      denominators: likewise, not all 0.

    Returns:
      The ratios, `[k]`, and the images' influences, `[k, n]`: how far each moves the ratio, to
      first order. `standard_error` of them, or of their mean over measures, is that of the ratio,
      or of the mean of the ratios.
    """
    total = denominators.sum(1, keepdims=True)
    ratio = numerators.sum(1, keepdims=True) / total
    return ratio[:, 0], (numerators - ratio * denominators) / total


def standard_error(influences: np.ndarray) -> np.ndarray:
    """Of what `ratios` gives: `[..., n]` becomes `[...]`."""
    count = influences.shape[-1]
    return np.sqrt(count / (count - 1) * np.square(influences).sum(-1))


def invariance(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    turns: Sequence[float] = TURNS,
    shifts: Sequence[float] = SHIFTS,
    scales: Sequence[float] = SCALES,
    blurs: Sequence[float] = BLURS,
    most: int = 512,
    parts: Parts = NOTHING_KEPT,
) -> Result:
    """Transforms photographs and measures how far their reconstructions follow.

    Reconstructions are compared, and transformed, at each inverter's own output size. What a
    transformation brings in from outside is the image reflected at its border.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.
      seed: of the way, left or right, in which each image is turned and shifted.
      turns: degrees.
      shifts: fractions of the image's width.
      scales: factors.
      blurs: standard deviations, as fractions of the image's width.
      most: at most so many of the images, evenly spaced.
      parts: keeps what is measured of each inverter.

    Raises:
      InputError: there are fewer than two images, a scale or blur is not above 0, or a
        transformation changes no reconstruction, so that none can follow.
    """
    if min(len(images), most) < 2 or min([*scales, *blurs], default=1) <= 0:
        raise InputError(
            "invariance takes at least 2 images, and scales and blurs above 0. Received: "
            f"{len(images)} images, most={most}, scales={scales}, blurs={blurs}"
        )
    images = images[evenly(len(images), most)]
    ways = np.random.default_rng(seed).choice([-1.0, 1.0], len(images))
    changes = transformations(turns, shifts, scales, blurs)
    names, rows, follows = labels(inverters), [], {}
    for name, inverter in tqdm.tqdm(inverters.items(), "invariance", leave=False):
        kept = parts(
            f"invariance/{name}", functools.partial(_measure, inverter, images, ways, changes)
        )
        shared, wanted, moved = kept["shared"], kept["wanted"], kept["moved"]
        for change, total in zip(changes, wanted.sum(1), strict=True):
            if not total:
                raise InputError(f"{name}: no reconstruction is changed by being {change.label}")
        value, influence = ratios(shared, wanted)
        follows[name] = _averages(value, influence, [change.name for change in changes])
        for i, change in enumerate(changes):
            rows.append(
                {
                    "inverter": name,
                    "layer": layer_of(inverter),
                    "kind": kind(inverter),
                    "transformation": change.name,
                    "strength": float(change.strength) if change.unit else None,
                    "unit": change.unit.strip(),
                    COEFFICIENT: float(value[i]),
                    COEFFICIENT_SE: float(standard_error(influence[i])),
                    FEATURE: float(moved[i]),
                }
            )
    return Result(
        "How far does a reconstruction follow the photograph?",
        f"{len(images)} photographs were turned, shifted, scaled, mirrored and blurred. The "
        "coefficient is the part of the same change that their reconstructions make: 1 if they "
        "follow exactly, 0 if they stay, above 1 if they change more than that, as blurring does "
        "to one that is blurred already. The change of the feature is in units of the mean "
        "distance between two photographs' features.",
        _findings(rows, names, follows),
        rows,
        [
            _layer_chart(names, follows),
            *_strength_charts(rows, names),
            _pictures(inverters, names, images, changes),
        ],
        _claims(inverters, names, {name: each[AVERAGE] for name, each in follows.items()}),
    )


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=_BORDER)


def _middle(image: np.ndarray) -> tuple[float, float]:
    return (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2


def _measure(
    inverter: Inverter, images: np.ndarray, ways: np.ndarray, changes: Sequence[Transformation]
) -> Arrays:
    """`following` of each transformation and image, and the mean change of the feature.

    Returns:
      "shared" and "wanted", `[transformations, n]`, and "moved", `[transformations]`.
    """
    shared, wanted, moved = np.zeros((3, len(changes), len(images)))
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        features = inverter.encode(images[part])
        rebuilt = inverter.invert(features)
        for i, change in enumerate(changes):
            others = inverter.encode(change(images[part], ways[part]))
            moved[i, part] = metrics.per_image_distance(features, others)
            shared[i, part], wanted[i, part] = following(
                rebuilt, change(rebuilt, ways[part]), inverter.invert(others)
            )
    few = inverter.encode(images[evenly(len(images), _PAIRED)])
    moved = moved.mean(1) / metrics.mean_pairwise_distance(few)
    return {"shared": shared, "wanted": wanted, "moved": moved}


def _averages(
    values: np.ndarray, influences: np.ndarray, names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Mean and standard error of each transformation's strengths, and of all as `AVERAGE`.

    In the latter, transformations count equally, however many strengths they have.

    Args:
      values: `[k]`, of `ratios`.
      influences: `[k, n]`, likewise.
      names: of the k transformations.
    """
    unlike = list(dict.fromkeys(names))
    weights = np.array([[name == each for name in names] for each in unlike], float)
    weights /= weights.sum(1, keepdims=True)
    weights = np.vstack([weights, weights.mean(0)])
    errors = standard_error(weights @ influences)
    pairs = zip((weights @ values).tolist(), errors.tolist(), strict=True)
    return dict(zip([*unlike, AVERAGE], pairs, strict=True))


def _value(label: str, measured: tuple[float, float]) -> str:
    value, error = measured
    return f"{label} {value:.3f} ± {error:.3f}"


def _findings(
    rows: list[dict[str, Any]],
    names: Mapping[str, str],
    follows: Mapping[str, Mapping[str, tuple[float, float]]],
) -> list[str]:
    found = [
        "Averaged over transformations, reconstructions follow by "
        + ", ".join(_value(names[name], own[AVERAGE]) for name, own in follows.items())
        + " (1: exactly, 0: they stay)."
    ]
    last, own = list(follows.items())[-1]
    ranked = sorted(set(own) - {AVERAGE}, key=lambda each: own[each], reverse=True)
    found.append(
        f"{names[last]} follows, from most to least: "
        f"{', '.join(_value(each, own[each]) for each in ranked)}."
    )
    changes = [
        f"{names[name]} {np.mean([row[FEATURE] for row in rows if row['inverter'] == name]):.2f}"
        for name in names
    ]
    found.append(
        "On average over all strengths the feature changes, in distances between two photographs, "
        f"by {', '.join(changes)}."
    )
    return found


def _layer_chart(
    names: Mapping[str, str], follows: Mapping[str, Mapping[str, tuple[float, float]]]
) -> Figure:
    series: dict[str, dict[str, tuple[float, float]]] = {}
    for name, own in follows.items():
        for transformation, point in own.items():
            series.setdefault(transformation, {})[names[name]] = point
    return plots.dot_chart(
        series,
        title="How far reconstructions follow, by layer",
        caption="Coefficients, averaged over the strengths of each transformation, with standard "
        "errors over photographs.",
        x="coefficient (1: follows exactly, 0: stays)",
    )


def _strength_charts(rows: list[dict[str, Any]], names: Mapping[str, str]) -> list[Figure]:
    """One for each transformation that has several strengths."""
    shown = list(names)[: plots.MAX_ORDERED]
    rest = len(names) - len(shown)
    charts = []
    for transformation in dict.fromkeys(row["transformation"] for row in rows):
        own = [row for row in rows if row["transformation"] == transformation]
        if len({row["strength"] for row in own}) < 2:
            continue
        lines = {
            names[name]: [
                (row["strength"], row[COEFFICIENT], row[COEFFICIENT_SE])
                for row in own
                if row["inverter"] == name
            ]
            for name in shown
        }
        charts.append(
            plots.line_chart(
                lines,
                title=f"How far reconstructions follow when photographs are {transformation}",
                caption="1: exactly, 0: they stay."
                + (f" The last {rest} inverters are left out." if rest else ""),
                x=f"{transformation} by ({own[0]['unit']})",
                y="coefficient",
                floor=None,
                ordered=True,
            )
        )
    return charts


def _pictures(
    inverters: Mapping[str, Inverter],
    names: Mapping[str, str],
    images: np.ndarray,
    changes: Sequence[Transformation],
) -> Figure:
    """The photograph of highest contrast under the strongest of each transformation."""
    image = images[[images.std((1, 2)).mean(1).argmax()]]
    strongest = {change.name: change for change in changes}.values()
    copies = np.concatenate([image, *[change(image, np.ones(1)) for change in strongest]])
    rows = {"input": copies}
    for name, inverter in inverters.items():
        rows[names[name]] = resize_images(inverter.reconstruct(copies), image.shape[1:3])
    return image_rows(
        rows,
        title="One photograph, transformed",
        caption="A photograph under each transformation, and what is rebuilt of it.",
        columns=["unchanged", *[change.label for change in strongest]],
    )


def _one_network(inverters: Mapping[str, Inverter]) -> list[str]:
    """Names of the inversion networks of the network that most of them are of."""
    found: dict[str, list[str]] = {}
    for name, inverter in inverters.items():
        feature = inverter.feature
        if feature.model is not None and kind(inverter) == NETWORK:
            family = feature.name.rpartition("/")[0]
            config = json.dumps(feature.get_config(), sort_keys=True, default=str)
            found.setdefault(f"{family} {config}", []).append(name)
    return max(found.values(), key=len, default=[])


def _claims(
    inverters: Mapping[str, Inverter],
    names: Mapping[str, str],
    means: Mapping[str, tuple[float, float]],
) -> list[Claim]:
    network = _one_network(inverters)
    grids = [name for name in network if len(inverters[name].feature.spec.shape) == 3]
    if len(network) < _FEWEST or not grids or grids[0] == network[-1]:
        return []
    first, last = grids[0], network[-1]
    values = [means[name][0] for name in network]
    rank = float(scipy.stats.spearmanr(range(len(values)), values).statistic)
    return [
        Claim(
            "Low layers follow what is done to the image, high layers less.",
            "The coefficient, averaged over transformations, is higher at the first convolution "
            "given than at the deepest layer, and its rank correlation with depth is below "
            f"{_CONFIRMS} over {len(network)} layers.",
            f"{_value(names[first], means[first])}, {_value(names[last], means[last])}; rank "
            f"correlation {rank:.2f}",
            means[first][0] > means[last][0] and rank < _CONFIRMS,
        )
    ]
