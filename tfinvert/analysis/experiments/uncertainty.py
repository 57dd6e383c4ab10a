"""Predicted uncertainty of brightness, colour and edges by layer, and its calibration.

An inverter with an uncertainty head predicts from the feature alone how far its image may be from
the photograph. The prediction is shown here by layer, and compared with the actual differences.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfinvert.analysis import claims
from tfinvert.analysis.claims import UNCERTAIN
from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    add_labels,
    inverter_columns,
    inverter_labels,
    most_common_network,
    shipped_alexnet,
)
from tfinvert.analysis.scores import mean_columns
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.networks.uncertainty import COLOR_AXES
from tfinvert.reporting import charts
from tfinvert.reporting.columns import column_label, format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_COVERED = "brightness", "color"
_EDGE_FRACTION = 0.1  # of an image's pixels, those with the steepest brightness
_WHITE_DEVIATION = 1 / 3  # shown as white in the maps
_PICTURES = 8
_GAUSSIAN_COVERAGE = 0.6827


def check(name: str, inverter: Inverter) -> None:
    """Checks that the inverter predicts its uncertainty.

    Raises:
      InputError: it does not.
    """
    if inverter.uncertainty_head is None:
        raise InputError(
            "uncertainty takes inverters with an uncertainty head; retrain with "
            "--uncertainty=joint, or add one with --init_from=INVERTER --uncertainty=frozen. "
            f"Received: {name}"
        )


def edge_mask(images: np.ndarray) -> np.ndarray:
    """The tenth of each image's pixels with the steepest brightness: `[n, H, W, 3]` → bool."""
    down, across = np.gradient(images.mean(-1), axis=(1, 2))
    slope = np.hypot(down, across)
    return slope >= np.quantile(slope, 1 - _EDGE_FRACTION, axis=(1, 2), keepdims=True)


def component_deviations(squares: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """Root mean square deviations of each image by component, for one colour channel.

    brightness² + color² is the mean square over red, green and blue; "edges" is the brightness at
    the images' edges.

    Args:
      squares: squared deviations along `COLOR_AXES`, `[n, H, W, 3]`.
      images: the images whose edges are taken, `[n, H, W, 3]`.

    Returns:
      `[n]` for each of "brightness", "color" and "edges".
    """
    brightness = squares[..., 0] / 3
    masks = edge_mask(images)
    means = {
        "brightness": brightness.mean((1, 2)),
        "color": (squares[..., 1] + squares[..., 2]).mean((1, 2)) / 3,
        "edges": np.array([b[mask].mean() for b, mask in zip(brightness, masks, strict=True)]),
    }
    return {component: np.sqrt(mean) for component, mean in means.items()}


def measure(inverters: dict[str, Inverter], images: np.ndarray) -> Measurement:
    """Compares predicted standard deviations with the actual differences.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1].
    """
    labels = inverter_labels(inverters)
    chosen = evenly_spaced_indices(len(images), _PICTURES)
    rows, deviations, maps = [], {}, {}
    for name, inverter in inverters.items():
        targets = resize_images(images, inverter.output_size)
        features = inverter.encode(images)
        predicted = inverter.uncertainty(features, along="axes")
        residual = np.abs((inverter.invert(features) - targets) @ COLOR_AXES.T)
        deviations[name] = component_deviations(np.square(predicted), targets)
        actual = component_deviations(np.square(residual), targets)
        covered = (residual <= predicted).mean((1, 2))
        row = inverter_columns(name, inverter)
        for component in UNCERTAIN:
            row |= mean_columns(f"{component}_std", deviations[name][component])
            row |= mean_columns(f"{component}_residual", actual[component])
        row |= mean_columns("coverage", covered.mean(1))
        row |= mean_columns("brightness_coverage", covered[:, 0])
        row |= mean_columns("color_coverage", covered[:, 1:].mean(1))
        rows.append(row)
        rgb = np.clip(inverter.uncertainty(features[chosen]) / _WHITE_DEVIATION, 0, 1)
        maps[labels[name]] = resize_images(rgb, images.shape[1:3])
    around_mean = np.square((images - images.mean(0)) @ COLOR_AXES.T)
    return Measurement(
        make_table(add_labels(rows, inverters)),
        {
            "deviations": {labels[x]: deviations[x] for x in most_common_network(inverters)},
            "pictures": {"photograph": images[chosen], **maps},
        },
        {
            "images": len(images),
            "mean_image": {
                component: float(values.mean())
                for component, values in component_deviations(around_mean, images).items()
            },
        },
    )


def present(measurement: Measurement) -> Presentation:
    """Presents predicted deviations by layer, their coverage, and maps."""
    table, facts = measurement.table, measurement.facts
    components = {component: column_label(component) for component in UNCERTAIN}
    deviations = ", ".join(f"{{{key}_std:.3f}} of {word}" for key, word in components.items())
    mean_image = ", ".join(
        f"{facts['mean_image'][key]:.3f} of {word}" for key, word in components.items()
    )
    return Presentation(
        "Predicted uncertainty of reconstructions",
        f"From the features of {facts['images']} photographs alone, each inverter predicts one "
        "standard deviation of the difference between its reconstruction and the photograph, at "
        "every pixel. Brightness and colour are deviations of a channel, whose range is 1; edges "
        "are brightness at the steepest tenth of a photograph's pixels. Knowing only the mean of "
        f"the photographs, the deviations would be {mean_image}, at the size of the photographs.",
        [
            f"Predicted standard deviations: {format_rows(table, '{label} ' + deviations, '; ')}.",
            f"Within the predicted deviation are {format_rows(table, '{label} {coverage:.1%}')} of "
            f"the differences; of Gaussian differences with these deviations it would be "
            f"{_GAUSSIAN_COVERAGE:.0%}.",
        ],
        [
            _chart(
                table,
                {f"{key}_std": word for key, word in components.items()},
                title="Uncertainty by layer",
                caption="Predicted standard deviation, mean over photographs.",
                y="deviation (range of a channel: 1)",
            ),
            _chart(
                table,
                {f"{key}_coverage": components[key] for key in _COVERED},
                title="Calibration by layer",
                caption="Fraction of the differences within the predicted standard deviation; "
                f"{_GAUSSIAN_COVERAGE:.0%} of Gaussian ones are.",
                y=column_label("coverage"),
            ),
            image_rows(
                measurement.arrays["pictures"],
                title="Maps of uncertainty",
                caption="Predicted standard deviations of red, green and blue at each pixel, from "
                "the feature alone: black is certain, white a deviation of at least a third of the "
                "range.",
            ),
        ],
    )


def _chart(table: pd.DataFrame, columns: dict[str, str], **words: str) -> Figure:
    """A line for each column, named as given, over the layers from first to last."""
    points: Sequence[dict] = [
        {"label": word, "layer": i, "value": row[column], "value_se": row[f"{column}_se"]}
        for column, word in columns.items()
        for i, row in enumerate(table.to_dict("records"))
    ]
    return charts.table_line_chart(
        points,
        "layer",
        "value",
        "value_se",
        x=column_label("layer"),
        ticks=list(table["label"]),
        ordered=False,
        **words,
    )


EXPERIMENT = Experiment(
    order=130,
    default_inverters=shipped_alexnet(),
    measure=measure,
    judge=claims.uncertainty,
    present=present,
    check=check,
)
