"""Reconstruction error, LPIPS and uncertainty by depth in several networks."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.inverters import (
    inverter_columns,
    layer_name,
    network_names,
    shipped_alexnet,
)
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.metrics import lpips
from tfinvert.reporting import charts
from tfinvert.reporting.columns import column_label, format_rows
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_MEASURES = "normalized_error", "lpips", "uncertainty"
_PICTURES = 6


def check(name: str, inverter: Inverter) -> None:
    """Checks that the inverter is of a network's layer, on images large enough for LPIPS.

    Raises:
      InputError: it is not.
    """
    if inverter.feature.model is None or "/" not in inverter.feature.name:
        raise InputError(
            f"depth takes inverters of network layers. Received: {name}, of {inverter.feature.name}"
        )
    lpips.check_size(inverter.feature.image_shape[:2])


def measure(inverters: dict[str, Inverter], images: np.ndarray) -> Measurement:
    """Scores inverters of layers of several networks on the same images.

    Reconstructions are resized to the size of the images and scored there. The training steps of
    each inverter are in the table, since inverters need not have had the same budget.

    Args:
      inverters: by name; those of a network from its first layer to its last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.

    Raises:
      InputError: two inverters are of one layer.
    """
    networks = network_names(inverters)
    layers = Counter((networks[name], layer_name(each)) for name, each in inverters.items())
    (network, layer), count = layers.most_common(1)[0]
    if count > 1:
        raise InputError(
            "depth takes one inverter of each layer; leave out the others. Received: "
            f"{count} of {network}/{layer}"
        )
    scale, size = metrics.mean_pairwise_distance(images), images.shape[1:3]
    chosen = evenly_spaced_indices(len(images), _PICTURES)
    rows, pictures, depths = [], {}, Counter()
    for name, inverter in tqdm.tqdm(inverters.items(), "depth", leave=False):
        network = networks[name]
        depths[network] += 1
        features = inverter.encode(images)
        rebuilt = resize_images(inverter.invert(features), size)
        rows.append(
            {
                **inverter_columns(name, inverter),
                "network": network,
                "depth": depths[network],
                "entries": int(np.prod(inverter.feature.spec.shape)),
                "normalized_error": metrics.normalized_error(images, rebuilt, scale),
                "lpips": lpips.lpips(images, rebuilt),
                "uncertainty": _rms_uncertainty(inverter, features),
                "steps": inverter.card.get("steps"),
                "weights": inverter.network.count_params(),
            }
        )
        own = pictures.setdefault(network, {"original": images[chosen]})
        own[layer_name(inverter)] = rebuilt[chosen]
    return Measurement(
        make_table(rows),
        {"pictures": pictures},
        {"images": len(images), "size": size, "scale": scale},
    )


def _rms_uncertainty(inverter: Inverter, features: np.ndarray) -> float | None:
    if inverter.uncertainty_head is None:
        return None
    return float(np.sqrt(np.mean(np.square(inverter.uncertainty(features)))))


def present(measurement: Measurement) -> Presentation:
    """Presents each measure by depth, and reconstructions from the layers of each network."""
    facts = measurement.facts
    height, width = facts["size"]
    return Presentation(
        "Reconstruction by depth in several networks",
        f"{facts['images']} photographs, scored at {height}×{width} pixels, "
        f"N = {facts['scale']:.2f}. The uncertainty is the root mean square of the standard "
        "deviations that the inverters predict. Inverters are compared as they were trained: see "
        "their steps.",
        _findings(measurement.table),
        [
            *_charts(measurement.table),
            *(_pictures(*own) for own in measurement.arrays["pictures"].items()),
        ],
    )


def _findings(table: pd.DataFrame) -> list[str]:
    def scores(own: pd.DataFrame) -> str:
        template = "{layer} {normalized_error:.3f} / {lpips:.3f}"
        complete = own["uncertainty"].notna().all()
        return format_rows(own, template + (" / {uncertainty:.3f}" if complete else ""))

    suffix = " / uncertainty" if table["uncertainty"].notna().any() else ""
    return [
        f"{network}: error / LPIPS{suffix}, {scores(own)}."
        for network, own in table.groupby("network", sort=False)
    ]


def _charts(table: pd.DataFrame) -> list[Figure]:
    measured = [column for column in _MEASURES if table[column].notna().any()]
    titles = {column: column_label(column) for column in measured}
    return [
        charts.table_line_chart(
            table,
            "depth",
            column,
            series="network",
            caption="Layers in the order given, from the first of each network.",
            title=f"{title[0].upper()}{title[1:]} by depth",
            x=column_label("depth"),
            y=title,
            floor=None,
            ordered=False,
        )
        for column, title in titles.items()
    ]


def _pictures(network: str, pictures: Mapping[str, np.ndarray]) -> Figure:
    return image_rows(
        pictures,
        title=f"Down the layers: {network}",
        caption=f"Photographs, and reconstructions from each layer of {network}.",
    )


EXPERIMENT = Experiment(
    order=160,
    default_inverters=shipped_alexnet(),
    measure=measure,
    present=present,
    check=check,
)
