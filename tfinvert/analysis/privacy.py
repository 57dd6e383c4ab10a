"""What comes back from stored descriptors: inverted as they are, and as stores reduce them.

Nothing is trained for a store, so this is the least that comes back: an attacker who trains on
what the store holds gets more.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import tqdm

from tfinvert import features, metrics
from tfinvert.analysis.compression import COMPONENTS, UNCOMPRESSED, compression_methods
from tfinvert.analysis.result import (
    Result,
    add_labels,
    format_rows,
    inverter_columns,
    standard_error,
)
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.metrics import lpips
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

NOTHING = "nothing: the mean image"
STORED, SIZE, ERROR, LPIPS = "stored", "bytes an image", "normalised error", "LPIPS"
SAME, SAME_SE = "named as the photograph", "standard error of that"
_FEWEST, _SHOWN = 8, 8
_CLASSIFIER = "squeezenet/logits"


def check(name: str, inverter: Inverter) -> None:
    """Raises `InputError` where images are too small for LPIPS."""
    lpips.check_size(inverter.output_size)


def privacy(inverters: dict[str, Inverter], images: np.ndarray, *, seed: int = 0) -> Result:
    """Inverts descriptors that went through a store, and measures what of the photographs is back.

    Every other image serves to learn ranges and principal components from; the others are stored
    and measured. Error and LPIPS are at the inverter's output size; the class is SqueezeNet's
    first of 1 000, which never sees the descriptor.

    Args:
      inverters: by name.
      images: `[n, H, W, 3]` in [0, 1], at least 8, of the size the features take.
      seed: of which keypoints are kept.

    Raises:
      InputError: there are fewer images, or `check` refuses an inverter.
    """
    for name, inverter in inverters.items():
        check(name, inverter)
    if len(images) < _FEWEST:
        raise InputError(f"privacy takes at least {_FEWEST} images. Received: {len(images)}")
    reference, stored = images[1::2], images[::2]
    chosen = evenly_spaced_indices(len(stored), _SHOWN)
    rows, figures = [], []
    for name, inverter in tqdm.tqdm(inverters.items(), "privacy", leave=False):
        targets = resize_images(stored, inverter.output_size)
        outcomes = _rebuilt(inverter, reference, stored, seed)
        rows += [inverter_columns(name, inverter) | row for row in _measured(targets, outcomes)]
        shown = {label: rebuilt[chosen] for label, (_, rebuilt) in outcomes.items()}
        figures.append(
            image_rows(
                {"original": targets[chosen]} | shown,
                title=f"What comes back: {name}",
                caption="Photographs, and what is rebuilt from their descriptors in each store.",
            )
        )
    table = pd.DataFrame(add_labels(rows, inverters))
    return Result(
        "What comes back from stored descriptors",
        f"{len(stored)} photographs, whose descriptors were stored in several ways; ranges and "
        f"components are learned from {len(reference)} others. No inverter is trained for a store. "
        "SqueezeNet says of photographs and reconstructions what they show, one of 1 000 classes.",
        _findings(table),
        rows,
        [*_charts(table), *figures],
    )


def _rebuilt(
    inverter: Inverter, reference: np.ndarray, stored: np.ndarray, seed: int
) -> dict[str, tuple[float, np.ndarray]]:
    """By store, bytes an image and what comes back."""
    sparse = isinstance(inverter.feature, Sift)
    given, found = inverter.encode(stored), {}
    for label, store in compression_methods(inverter.encode(reference), sparse, seed).items():
        restored, size = store(given)
        found[label] = size, inverter.invert(restored)
    mean = resize_images(reference, inverter.output_size).mean(0)
    return found | {NOTHING: (0.0, np.broadcast_to(mean, (len(stored), *mean.shape)))}


def _measured(
    targets: np.ndarray, outcomes: Mapping[str, tuple[float, np.ndarray]]
) -> Iterator[dict[str, Any]]:
    scale, classes = metrics.mean_pairwise_distance(targets), _classes(targets)
    for label, (size, rebuilt) in outcomes.items():
        same = _classes(rebuilt) == classes
        yield {
            STORED: label,
            SIZE: size,
            ERROR: metrics.normalized_error(targets, rebuilt, scale),
            LPIPS: lpips.lpips(targets, rebuilt),
            SAME: float(same.mean()),
            SAME_SE: standard_error(same.astype(np.float64)),
        }


def _classes(images: np.ndarray) -> np.ndarray:
    classifier = features.get(_CLASSIFIER, image_shape=images.shape[1:])
    return np.concatenate(
        [classifier(images[i : i + 64]).numpy().argmax(1) for i in range(0, len(images), 64)]
    )


def _findings(table: pd.DataFrame) -> list[str]:
    told = f"{{{STORED}}}, {{{SIZE}:.0f}} bytes: {{{ERROR}:.3f}} / {{{LPIPS}:.3f}} / {{{SAME}:.0%}}"
    return [
        f"{name}: error / LPIPS / named as the photograph is, {format_rows(own, told, '; ')}."
        for name, own in table.groupby("inverter", sort=False)
    ]


def _charts(table: pd.DataFrame) -> list[Figure]:
    kept = table[table[STORED] != NOTHING].sort_values(SIZE, kind="stable")
    # Two ways to be smaller, of which neither is a point between two of the other.
    reduced = np.where(kept[STORED].str.endswith(COMPONENTS), f", {COMPONENTS}", "")
    percent = {column: 100 * table[column] for column in (SAME, SAME_SE)}
    by_size = charts.table_line_chart(
        kept.assign(label=kept["label"] + reduced),
        SIZE,
        ERROR,
        caption="Each point a way to store the descriptor. The mean image is at 0.7.",
        title="Error by bytes",
        x=SIZE,
        y=ERROR,
        log_x=True,
        floor=None,
    )
    named = table[table[STORED].isin([UNCOMPRESSED, NOTHING])]
    return [
        by_size,
        charts.table_dot_chart(
            table.assign(**percent).loc[named.index],
            SAME,
            SAME_SE,
            series=STORED,
            title="Whether a reconstruction is named as its photograph is",
            caption="By SqueezeNet, of descriptors as they are, with standard errors.",
            x="named as the photograph (%)",
        ),
    ]
