"""What a representation throws away, as a number at every pixel: of brightness, colour and edges.

An inverter with a spread tells from the feature alone how far its image may be from the photograph.
That is shown here, and whether it is true.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfinvert.analysis.inverters import NETWORK, kind, labels, layer_of
from tfinvert.analysis.result import Claim, Result
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.networks.spread import AXES
from tfinvert.reporting import plots
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure
from tfinvert.resize import resize_images
from tfinvert.sampling import evenly

TOLD = ("brightness", "colour", "edges")  # deviations that the inverter tells
WITHIN = "within one deviation"
_ERROR = "{} ±"
_EDGES = 0.1  # of an image's pixels, those of the steepest brightness
_BRIGHTEST = 1 / 3  # of the maps: white
_SHOWN = 8
_GAUSSIAN = 0.6827


def check(name: str, inverter: Inverter) -> None:
    """Whether the question can be asked of an inverter.

    Raises:
      InputError: it has no spread.
    """
    if inverter.spread is None:
        raise InputError(
            f"uncertainty looks at inverters that tell it, trained with --spread. Received: {name}"
        )


def edges(images: np.ndarray) -> np.ndarray:
    """The tenth of each image's pixels where brightness is steepest: `[n, H, W, 3]` → bool."""
    down, across = np.gradient(images.mean(-1), axis=(1, 2))
    steep = np.hypot(down, across)
    return steep >= np.quantile(steep, 1 - _EDGES, axis=(1, 2), keepdims=True)


def parts(squares: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """Deviations of each image, `[n]`, from squared ones along `AXES`, `[n, H, W, 3]`.

    Of a colour channel, in which brightness² + colour² is the mean square of red, green and blue.
    "edges" is brightness at the images' edges.
    """
    brightness = squares[..., 0] / 3
    means = {
        "brightness": brightness.mean((1, 2)),
        "colour": (squares[..., 1] + squares[..., 2]).mean((1, 2)) / 3,
        "edges": np.array([b[e].mean() for b, e in zip(brightness, edges(images), strict=True)]),
    }
    return {name: np.sqrt(mean) for name, mean in means.items()}


def uncertainty(inverters: dict[str, Inverter], images: np.ndarray) -> Result:
    """Compares the deviations that inverters tell with the differences there are.

    Raises:
      InputError: an inverter tells none.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    names = labels(inverters)
    rows, told, maps = [], {}, {}
    for name, inverter in inverters.items():
        targets = resize_images(images, inverter.output_size)
        features = inverter.encode(images)
        along = inverter.uncertainty(features, along="axes")
        residual = np.abs((inverter.invert(features) - targets) @ AXES.T)
        told[name] = parts(np.square(along), targets)
        there = parts(np.square(residual), targets)
        within = (residual <= along).mean((1, 2))
        row = {"inverter": name, "layer": layer_of(inverter), "kind": kind(inverter)}
        for part in TOLD:
            row |= _measured(part, told[name][part])
            row |= _measured(f"{part}, of the differences", there[part])
        row |= _measured(WITHIN, within.mean(1))
        row |= _measured(f"{WITHIN}, brightness", within[:, 0])
        row |= _measured(f"{WITHIN}, colour", within[:, 1:].mean(1))
        rows.append(row)
        chosen = evenly(len(images), _SHOWN)
        deviations = inverter.uncertainty(features[chosen]) / _BRIGHTEST
        maps[names[name]] = resize_images(np.clip(deviations, 0, 1), images.shape[1:3])
    nothing = parts(np.square((images - images.mean(0)) @ AXES.T), images)
    return Result(
        "How far may a reconstruction be from the photograph?",
        f"From the features of {len(images)} photographs alone, each inverter tells one standard "
        "deviation of its own difference from the photograph, at every pixel. Brightness and "
        "colour are deviations of a channel, in units of the image; edges are brightness at the "
        f"steepest tenth of a photograph's pixels. To know nothing but the photographs' mean "
        f"would be {_three(nothing)}.",
        _findings(rows, names),
        rows,
        [_chart(rows, names), _calibration(rows, names), _pictures(images, maps)],
        claims(inverters, told),
    )


def claims(
    inverters: Mapping[str, Inverter], told: Mapping[str, Mapping[str, np.ndarray]]
) -> list[Claim]:
    """Of the layers of one network, given from the first to the last.

    Args:
      inverters: by name.
      told: by name, of each of `TOLD` the deviation of each image.
    """
    family = None
    layers = []
    for name, inverter in inverters.items():
        network, slash, layer = inverter.feature.name.rpartition("/")
        if slash and kind(inverter) == NETWORK and family in (None, network):
            family = network
            layers.append((layer, told[name]))
    if len(layers) < 2:
        return []
    pairs = itertools.pairwise(each for _, each in layers)
    rises = [_mean_error(deep[part] - shallow[part]) for shallow, deep in pairs for part in TOLD]
    return [
        Claim(
            "Each layer throws away more than the one before: of brightness, of colour and of "
            "edges.",
            "The deviation that the inverter tells rises from each layer given to the next, in all "
            "three by more than 2 standard errors, paired over images.",
            "; ".join(
                f"{layer} {', '.join(f'{each[part].mean():.3f}' for part in TOLD)}"
                for layer, each in layers
            ),
            all(rise > 2 * error for rise, error in rises),
        )
    ]


def _mean_error(values: np.ndarray) -> tuple[float, float]:
    """Mean of `[n]` independent values, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _measured(column: str, values: np.ndarray) -> dict[str, float]:
    return dict(zip((column, _ERROR.format(column)), _mean_error(values), strict=True))


def _three(means: Mapping[str, Any]) -> str:
    return ", ".join(f"{np.mean(means[part]):.3f} of {part}" for part in TOLD)


def _findings(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[str]:
    told = "; ".join(f"{names[row['inverter']]}: {_three(row)}" for row in rows)
    shares = ", ".join(f"{names[row['inverter']]} {row[WITHIN]:.1%}" for row in rows)
    return [
        f"Told from the feature alone, one deviation: {told}.",
        f"Of the differences, {shares} are within the deviation that is told; {_GAUSSIAN:.0%} "
        "would be if they were Gaussian and it was true.",
    ]


def _chart(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Figure:
    return plots.line_chart(
        {
            part: [(i, row[part], row[_ERROR.format(part)]) for i, row in enumerate(rows)]
            for part in TOLD
        },
        title="What is uncertain, by layer",
        caption="One deviation that the inverter tells, mean over photographs.",
        x="inverted",
        y="deviation (range of a channel: 1)",
        ticks=[names[row["inverter"]] for row in rows],
    )


def _calibration(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Figure:
    return plots.line_chart(
        {
            part: [
                (i, row[f"{WITHIN}, {part}"], row[_ERROR.format(f"{WITHIN}, {part}")])
                for i, row in enumerate(rows)
            ]
            for part in ("brightness", "colour")
        },
        title="Whether it is true",
        caption=f"Share of the differences within the deviation that is told; {_GAUSSIAN:.0%} of "
        "Gaussian ones are.",
        x="inverted",
        y=WITHIN,
        ticks=[names[row["inverter"]] for row in rows],
    )


def _pictures(images: np.ndarray, maps: Mapping[str, np.ndarray]) -> Figure:
    return image_rows(
        {"photograph": images[evenly(len(images), _SHOWN)], **maps},
        title="Where it is uncertain",
        caption="Of red, green and blue at each pixel, told from the feature alone: black is "
        "certain, white a deviation of a third of the range or more.",
    )
