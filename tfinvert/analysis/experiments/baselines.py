"""Inversion networks compared with baselines on hand-crafted features.

This extends section 4 of the paper. Errors of brightness and colour are measured separately,
because hand-crafted features contain neither: a method can only infer both from what it has learnt.
"""

import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import tqdm

from tfinvert import metrics
from tfinvert.analysis.baselines import (
    CellRidge,
    GradientInversion,
    MeanImage,
    NearestNeighbor,
    PairedDictionary,
)
from tfinvert.analysis.experiment import Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.scores import brightness_error, color_error, image_scores
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows

INVERSION_NETWORK = "inversion network"
_PICTURES = 8
_BATCH_SIZE = 64

Method = tuple[str, Callable[[np.ndarray], np.ndarray]]


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    training: np.ndarray,
    *,
    gradient_images: int = 256,
    seed: int = 0,
) -> Measurement:
    """Scores each inverter, and every baseline that its feature allows.

    The seconds an image takes are those of the inversion alone; features are computed beforehand.

    Args:
      inverters: by name.
      images: `[n, H, W, 3]` in [0, 1].
      training: images on which the baselines are fitted, `[m, H, W, 3]` in [0, 1].
      gradient_images: maximum number of images for the slow gradient-based inversion, evenly
        subsampled; 0 omits it.
      seed: random seed of the dictionary's windows and of the noise from which gradient-based
        inversion starts.
    """
    rows, pictures = [], {}
    every = np.arange(len(images))
    shown = evenly_spaced_indices(len(images), min(_PICTURES, gradient_images or _PICTURES))
    few = np.union1d(shown, evenly_spaced_indices(len(images), gradient_images))
    for name, inverter in inverters.items():
        targets = resize_images(images, inverter.output_size)
        scale = metrics.mean_pairwise_distance(targets)
        features = inverter.encode(images)
        pictures[name] = {"original": targets[shown]}
        for method, invert in _methods(inverter, training, seed, gradient_images > 0):
            chosen = few if method == GradientInversion.name else every
            start = time.perf_counter()
            rebuilt = invert(features[chosen])
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "inverter": name,
                    "method": method,
                    **image_scores(targets[chosen], rebuilt, scale),
                    "brightness_error": brightness_error(targets[chosen], rebuilt),
                    "color_error": color_error(targets[chosen], rebuilt),
                    "seconds_per_image": seconds / len(chosen),
                    "images": len(chosen),
                }
            )
            pictures[name][method] = rebuilt[np.searchsorted(chosen, shown)]
    return Measurement(
        make_table(rows),
        {"pictures": pictures},
        {
            "images": len(images),
            "training_images": len(training),
            "features": {name: inverter.feature.name for name, inverter in inverters.items()},
        },
    )


def _methods(
    inverter: Inverter, training: np.ndarray, seed: int, with_gradient: bool
) -> Iterator[Method]:
    """Names and inversions of the methods, each fitted when it is reached."""
    feature, size = inverter.feature, inverter.output_size
    targets = resize_images(training, size)
    dictionary = functools.partial(PairedDictionary, seed=seed)
    for make in (MeanImage, CellRidge, NearestNeighbor, dictionary):
        try:
            baseline = make(feature, inverter.standardization, size)
        except InputError:  # the feature is not a grid
            continue
        starts = range(0, len(training), _BATCH_SIZE)
        with tqdm.tqdm(starts, f"{feature.name}: fitting {baseline.name}", leave=False) as bar:
            # Features are recomputed for each baseline: those of 20 000 SIFT grids take 2.7 GB.
            baseline.fit(
                (
                    np.asarray(feature(training[i : i + _BATCH_SIZE])),
                    targets[i : i + _BATCH_SIZE],
                )
                for i in bar
            )
        yield baseline.name, baseline.invert
    if with_gradient and feature.in_graph and feature.differentiable:
        slow = GradientInversion(feature, seed=seed)
        yield slow.name, lambda features: resize_images(slow.invert(features), size)
    yield INVERSION_NETWORK, inverter.invert


def present(measurement: Measurement) -> Presentation:
    """Presents the errors of the network and of the best baseline, and reconstructions."""
    facts = measurement.facts
    return Presentation(
        "Reconstructions by each method from the same features",
        f"{facts['images']} photographs; baselines are fitted on {facts['training_images']} "
        "others. Lower is better, except for PSNR and SSIM. Brightness and colour errors are root "
        "mean squared errors of luma (Y) and chroma (Cb, Cr), relative to a range of 1.",
        [_finding(name, own) for name, own in measurement.table.groupby("inverter", sort=False)],
        [
            image_rows(
                {method.replace("_", " "): images for method, images in pictures.items()},
                title=f"Methods on the features of {name}",
                caption="Photographs, and their reconstructions by each method from "
                f"{facts['features'][name]}.",
            )
            for name, pictures in measurement.arrays["pictures"].items()
        ],
    )


def _finding(name: str, table: pd.DataFrame) -> str:
    by_method = table.set_index("method")
    network, others = by_method.loc[INVERSION_NETWORK], by_method.drop(INVERSION_NETWORK)
    best = others["normalized_error"].idxmin()
    finding = (
        f"{name}: the inversion network has a normalised error of "
        f"{network['normalized_error']:.3f}, the best baseline, {best.replace('_', ' ')}, of "
        f"{others['normalized_error'].min():.3f}"
    )
    if GradientInversion.name not in others.index:
        return finding + "."
    slow = others.loc[GradientInversion.name, "seconds_per_image"]
    ratio = slow / network["seconds_per_image"]
    return f"{finding}. Gradient-based inversion takes {ratio:,.0f} times as long per image."


EXPERIMENT = Experiment(
    order=10,
    default_inverters=("hog-64", "lbp-64", "sift-64"),
    measure=measure,
    present=present,
    on_request=True,
)
