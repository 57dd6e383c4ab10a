"""What a representation throws away, as a number at every pixel: of brightness, colour and edges.

An inverter with a spread tells from the feature alone how far its image may be from the photograph.
That is shown here, and whether it is true.
"""

from collections.abc import Sequence

import numpy as np

from tfinvert.analysis import claims
from tfinvert.analysis.inverters import inverter_labels, most_common_network
from tfinvert.analysis.result import (
    Result,
    Row,
    add_labels,
    format_rows,
    inverter_columns,
    mean_columns,
)
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import COLOR_AXES
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows

WITHIN = "within one deviation"
_ERROR = "{} ±"
_SHARES = "brightness", "colour"
_EDGES = 0.1  # of an image's pixels, those of the steepest brightness
_BRIGHTEST = 1 / 3  # of the maps: white
_SHOWN = 8
_GAUSSIAN = 0.6827
_THREE = "{label} {brightness:.3f} of brightness, {colour:.3f} of colour, {edges:.3f} of edges"
_POINT = "at", "value", "±"


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` for an inverter without a spread."""
    if inverter.uncertainty_head is None:
        raise InputError(
            f"uncertainty looks at inverters that tell it, trained with --spread. Received: {name}"
        )


def edge_mask(images: np.ndarray) -> np.ndarray:
    """The tenth of each image's pixels where brightness is steepest: `[n, H, W, 3]` → bool."""
    down, across = np.gradient(images.mean(-1), axis=(1, 2))
    steep = np.hypot(down, across)
    return steep >= np.quantile(steep, 1 - _EDGES, axis=(1, 2), keepdims=True)


def component_deviations(squares: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """Deviations of each image, `[n]`, from squared ones along `COLOR_AXES`, `[n, H, W, 3]`.

    Of a colour channel, in which brightness² + colour² is the mean square of red, green and blue.
    "edges" is brightness at the images' edges.
    """
    brightness = squares[..., 0] / 3
    means = {
        "brightness": brightness.mean((1, 2)),
        "colour": (squares[..., 1] + squares[..., 2]).mean((1, 2)) / 3,
        "edges": np.array(
            [b[e].mean() for b, e in zip(brightness, edge_mask(images), strict=True)]
        ),
    }
    return {name: np.sqrt(mean) for name, mean in means.items()}


def uncertainty(inverters: dict[str, Inverter], images: np.ndarray) -> Result:
    """Compares the deviations that inverters tell with the differences there are.

    Raises:
      InputError: an inverter tells none.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    names = inverter_labels(inverters)
    rows, told, maps = [], {}, {}
    for name, inverter in inverters.items():
        targets = resize_images(images, inverter.output_size)
        features = inverter.encode(images)
        along = inverter.uncertainty(features, along="axes")
        residual = np.abs((inverter.invert(features) - targets) @ COLOR_AXES.T)
        told[name] = component_deviations(np.square(along), targets)
        there = component_deviations(np.square(residual), targets)
        within = (residual <= along).mean((1, 2))
        shares = within[:, 0], within[:, 1:].mean(1)
        row = inverter_columns(name, inverter)
        for part in claims.TOLD:
            row |= _measured(part, told[name][part])
            row |= _measured(f"{part}, of the differences", there[part])
        row |= _measured(WITHIN, within.mean(1))
        for part, share in zip(_SHARES, shares, strict=True):
            row |= _measured(f"{WITHIN}, {part}", share)
        rows.append(row)
        deviations = inverter.uncertainty(features[evenly_spaced_indices(len(images), _SHOWN)])
        whole = np.clip(deviations / _BRIGHTEST, 0, 1)
        maps[names[name]] = resize_images(whole, images.shape[1:3])
    nothing = component_deviations(np.square((images - images.mean(0)) @ COLOR_AXES.T), images)
    table = add_labels(rows, inverters)
    return Result(
        "How far may a reconstruction be from the photograph?",
        f"From the features of {len(images)} photographs alone, each inverter tells one standard "
        "deviation of its own difference from the photograph, at every pixel. Brightness and "
        "colour are deviations of a channel, in units of the image; edges are brightness at the "
        "steepest tenth of a photograph's pixels. To know nothing but the photographs' mean would "
        f"be {', '.join(f'{nothing[part].mean():.3f} of {part}' for part in claims.TOLD)}, at "
        "the photographs' size.",
        [
            f"Told from the feature alone, one deviation: {format_rows(table, _THREE, '; ')}.",
            f"Of the differences, {format_rows(table, f'{{label}} {{{WITHIN}:.1%}}')} are within the "
            f"deviation that is told; {_GAUSSIAN:.0%} would be if they were Gaussian and it was "
            "true.",
        ],
        rows,
        [
            charts.table_line_chart(
                _points(table, claims.TOLD),
                *_POINT,
                title="What is uncertain, by layer",
                caption="One deviation that the inverter tells, mean over photographs.",
                x="inverted",
                y="deviation (range of a channel: 1)",
                ticks=[row["label"] for row in table],
                ordered=False,
            ),
            charts.table_line_chart(
                _points(table, _SHARES, f"{WITHIN}, "),
                *_POINT,
                title="Whether it is true",
                caption="Share of the differences within the deviation that is told; "
                f"{_GAUSSIAN:.0%} of Gaussian ones are.",
                x="inverted",
                y=WITHIN,
                ticks=[row["label"] for row in table],
                ordered=False,
            ),
            image_rows(
                {"photograph": images[evenly_spaced_indices(len(images), _SHOWN)], **maps},
                title="Where it is uncertain",
                caption="Of red, green and blue at each pixel, told from the feature alone: black "
                "is certain, white a deviation of a third of the range or more.",
            ),
        ],
        claims.uncertainty({names[name]: told[name] for name in most_common_network(inverters)}),
    )


def _measured(column: str, values: np.ndarray) -> Row:
    return mean_columns((column, _ERROR.format(column)), values)


def _points(table: Sequence[Row], names: Sequence[str], column: str = "") -> list[Row]:
    """A row for each point of a chart by layer: "label" is the line, "at" the layer."""
    return [
        {
            "label": name,
            "at": i,
            "value": row[column + name],
            "±": row[_ERROR.format(column + name)],
        }
        for name in names
        for i, row in enumerate(table)
    ]
