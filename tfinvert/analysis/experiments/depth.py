"""What classifiers keep on their way down: layers of several networks, by one measure."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis.inverters import layer_name, network_names
from tfinvert.analysis.result import Result, format_rows, inverter_columns
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.metrics import lpips
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

OF, PLACE, ENTRIES = "network", "depth", "entries"
ERROR, LPIPS, DEVIATION = "normalised error", "LPIPS", "uncertainty"
_SHOWN = 6


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` for what is no layer of a network, and for images too small for LPIPS."""
    if inverter.feature.model is None or "/" not in inverter.feature.name:
        raise InputError(
            f"depth takes inverters of layers of networks. Received: {name}, of "
            f"{inverter.feature.name}"
        )
    lpips.check_size(inverter.feature.image_shape[:2])


def depth(inverters: dict[str, Inverter], images: np.ndarray) -> Result:
    """Scores inverters of several networks' layers on the same images.

    All reconstructions are resized to the images' size and scored there. Whether the decoders had
    the same budget is what the inverters' cards say, and stands in the table.

    Args:
      inverters: by name; those of a network from its first layer to its last.
      images: `[n, H, W, 3]` in [0, 1], of the size the features take.

    Raises:
      InputError: `check` refuses an inverter, or two are of one layer.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    of = network_names(inverters)
    twice = Counter((of[name], layer_name(inverter)) for name, inverter in inverters.items())
    if max(twice.values()) > 1:
        (network, layer), _ = twice.most_common(1)[0]
        raise InputError(f"depth takes each layer once. Received: {network}/{layer} twice")
    scale, size = metrics.mean_pairwise_distance(images), images.shape[1:3]
    chosen = evenly_spaced_indices(len(images), _SHOWN)
    rows, pictures, reached = [], {}, {}
    for name, inverter in tqdm.tqdm(inverters.items(), "depth", leave=False):
        network = of[name]
        reached[network] = reached.get(network, 0) + 1
        features = inverter.encode(images)
        rebuilt = resize_images(inverter.invert(features), size)
        rows.append(
            {
                **inverter_columns(name, inverter),
                OF: network,
                PLACE: reached[network],
                ENTRIES: int(np.prod(inverter.feature.spec.shape)),
                ERROR: metrics.normalized_error(images, rebuilt, scale),
                LPIPS: lpips.lpips(images, rebuilt),
                DEVIATION: _deviation(inverter, features),
                "steps": inverter.card.get("steps"),
                "weights": inverter.network.count_params(),
            }
        )
        own = pictures.setdefault(network, {"original": images[chosen]})
        own[inverter_columns(name, inverter)["layer"]] = rebuilt[chosen]
    table = pd.DataFrame(rows)
    return Result(
        "What networks keep on their way down",
        f"{len(images)} photographs, scored at {size[0]}×{size[1]} pixels, N = {scale:.2f}. The "
        "uncertainty is the root mean square of the deviations that the inverters tell. Decoders "
        "are compared as they were trained: see their steps.",
        _findings(table),
        rows,
        [*_charts(table), *(_pictures(*own) for own in pictures.items())],
    )


def _deviation(inverter: Inverter, features: np.ndarray) -> float | None:
    if inverter.uncertainty_head is None:
        return None
    return float(np.sqrt(np.mean(np.square(inverter.uncertainty(features)))))


def _findings(table: pd.DataFrame) -> list[str]:
    def told(own: pd.DataFrame) -> str:
        last = f" / {{{DEVIATION}:.3f}}" if own[DEVIATION].notna().all() else ""
        return format_rows(own, f"{{layer}} {{{ERROR}:.3f}} / {{{LPIPS}:.3f}}{last}")

    of = " / uncertainty" if table[DEVIATION].notna().any() else ""
    return [
        f"{network}: error / LPIPS{of}, {told(own)}."
        for network, own in table.groupby(OF, sort=False)
    ]


def _charts(table: pd.DataFrame) -> list[Figure]:
    measured = [column for column in (ERROR, LPIPS, DEVIATION) if table[column].notna().any()]
    return [
        charts.table_line_chart(
            table,
            PLACE,
            column,
            series=OF,
            caption="Layers in the order given, from the first of each network.",
            title=f"{column[0].upper()}{column[1:]} by depth",
            x=PLACE,
            y=column,
            floor=None,
            ordered=False,
        )
        for column in measured
    ]


def _pictures(network: str, shown: Mapping[str, np.ndarray]) -> Figure:
    return image_rows(
        shown,
        title=f"Down the layers: {network}",
        caption=f"Photographs, and what comes back from each layer of {network}.",
    )
