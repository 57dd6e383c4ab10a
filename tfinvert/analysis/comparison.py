"""Inversion networks beside the baselines, on the same features of the same images.

Section 4 of the paper. Errors of brightness and colour are told apart, since the hand-crafted
features see neither: both are what a method has learnt to guess.
"""

import functools
import time
from collections.abc import Callable, Iterator

import numpy as np
import tqdm

from tfinvert import metrics
from tfinvert.analysis.baselines import (
    CellRidge,
    GradientInversion,
    MeanImage,
    NearestNeighbor,
    PairedDictionary,
)
from tfinvert.analysis.result import Result
from tfinvert.analysis.scores import brightness_error, color_error, image_scores
from tfinvert.common.images import evenly_spaced_indices, resize_images
from tfinvert.errors import InputError
from tfinvert.inverter import Inverter
from tfinvert.reporting.image_rows import image_rows

INVERSION_NETWORK = "inversion network"
_SHOWN = 8
_BATCH = 64


def baselines(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    training: np.ndarray,
    *,
    gradient_images: int = 256,
    seed: int = 0,
) -> Result:
    """Scores every baseline that fits each inverter's feature, and the inverter.

    Seconds per image are those of the inversion alone: the features are computed beforehand.

    Args:
      training: `[m, H, W, 3]`, what baselines learn from.
      gradient_images: at most so many, evenly spaced, for the slow gradient-based inversion; 0
        leaves it out.
    """
    rows, findings, figures = [], [], []
    for name, inverter in inverters.items():
        targets = resize_images(images, inverter.output_size)
        scale = metrics.mean_pairwise_distance(targets)
        features = inverter.encode(images)
        shown = evenly_spaced_indices(len(images), min(_SHOWN, gradient_images or _SHOWN))
        few = np.union1d(shown, evenly_spaced_indices(len(images), gradient_images))
        pictures = {"original": targets[shown]}
        own = []
        for method, invert in _methods(inverter, training, seed, gradient_images > 0):
            slow = method == GradientInversion.name
            chosen = few if slow else np.arange(len(images))
            begin = time.perf_counter()
            rebuilt = invert(features[chosen])
            seconds = time.perf_counter() - begin
            own.append(
                {
                    "inverter": name,
                    "method": method,
                    **image_scores(targets[chosen], rebuilt, scale),
                    "brightness error": brightness_error(targets[chosen], rebuilt),
                    "colour error": color_error(targets[chosen], rebuilt),
                    "seconds an image": seconds / len(chosen),
                    "images": len(chosen),
                }
            )
            pictures[method.replace("_", " ")] = rebuilt[np.searchsorted(chosen, shown)]
        rows += own
        findings.append(_finding(name, own))
        figures.append(
            image_rows(
                pictures,
                title=f"Methods on the features of {name}",
                caption="Photographs, and what each method rebuilds from their "
                f"{inverter.feature.name}.",
            )
        )
    return Result(
        "What each method rebuilds from the same features",
        f"{len(images)} photographs; baselines learnt from {len(training)} others. Lower is better "
        "but for PSNR and SSIM. Brightness and colour: root mean squared error of luma (Y) and "
        "chroma (Cb, Cr), of 1.",
        findings,
        rows,
        figures,
    )


def _methods(
    inverter: Inverter, training: np.ndarray, seed: int, gradient: bool
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Each method's name and its inversion, made ready one after the other."""
    feature, size = inverter.feature, inverter.output_size
    targets = resize_images(training, size)
    dictionary = functools.partial(PairedDictionary, seed=seed)
    for make in (MeanImage, CellRidge, NearestNeighbor, dictionary):
        try:
            baseline = make(feature, inverter.standardization, size)
        except InputError:  # not for such a feature, as it says itself
            continue
        starts = range(0, len(training), _BATCH)
        with tqdm.tqdm(starts, f"{feature.name}: {baseline.name} learns", leave=False) as bar:
            # Features anew for each baseline: kept, those of 20 000 SIFT grids would take 2.7 GB.
            baseline.fit(
                (np.asarray(feature(training[i : i + _BATCH])), targets[i : i + _BATCH])
                for i in bar
            )
        yield baseline.name, baseline.invert
    if gradient and feature.in_graph and feature.differentiable:
        slow = GradientInversion(feature, seed=seed)
        yield slow.name, lambda features: resize_images(slow.invert(features), size)
    yield INVERSION_NETWORK, inverter.invert


def _finding(name: str, rows: list[dict]) -> str:
    by_method = {row["method"]: row for row in rows}
    ours = by_method.pop(INVERSION_NETWORK)
    best = min(by_method.values(), key=lambda row: row["normalised error"])
    text = (
        f"{name}: normalised error {ours['normalised error']:.3f}; the best baseline, "
        f"{best['method'].replace('_', ' ')}, has {best['normalised error']:.3f}"
    )
    slow = by_method.get(GradientInversion.name)
    if slow is None:
        return text + "."
    ratio = slow["seconds an image"] / ours["seconds an image"]
    return text + f". Gradient-based inversion takes {ratio:,.0f} times as long per image."
