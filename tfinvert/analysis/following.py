"""How far reconstructions follow a change: ratios of sums over images, and their errors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tfinvert import metrics
from tfinvert.analysis.parts import Arrays
from tfinvert.analysis.transformations import Transformation
from tfinvert.inverter import Inverter
from tfinvert.sampling import evenly

AVERAGE = "average"
_BATCH = 64
_PAIRED = 128  # photographs whose features are measured against each other


def following(
    rebuilt: np.ndarray, moved: np.ndarray, of_moved: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a reconstruction's change has in common with the change it would have to make.

    Of what is `rebuilt` from photographs, `[n, H, W, 3]`, the same transformed (`moved`), and what
    is rebuilt from the transformed photographs (`of_moved`) it gives <of_moved - rebuilt,
    moved - rebuilt> and ‖moved - rebuilt‖², `[n]` each. Their ratio is 1 if the reconstruction
    follows exactly, and 0 if it stays.
    """
    wanted, found = (moved - rebuilt).astype(np.float64), of_moved - rebuilt
    return np.einsum("nhwc,nhwc->n", found, wanted), np.einsum("nhwc,nhwc->n", wanted, wanted)


def ratios(numerators: np.ndarray, denominators: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratios of sums over images, of k measures and n images, and what each image does to them.

    Numerators and denominators, not all 0, are `[k, n]`; they become the ratios, `[k]`, and the
    images' influences, `[k, n]`: how far each moves the ratio, to first order. `standard_error` of
    them, or of their mean over measures, is that of the ratio, or of the mean of the ratios.
    """
    total = denominators.sum(1, keepdims=True)
    ratio = numerators.sum(1, keepdims=True) / total
    return ratio[:, 0], (numerators - ratio * denominators) / total


def standard_error(influences: np.ndarray) -> np.ndarray:
    """Of what `ratios` gives: `[..., n]` becomes `[...]`."""
    count = influences.shape[-1]
    return np.sqrt(count / (count - 1) * np.square(influences).sum(-1))


def averages(
    values: np.ndarray, influences: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Mean and standard error of each transformation's strengths, and "of" all as `AVERAGE`.

    In the latter, transformations count equally, however many strengths they have. The values,
    `[k]`, and influences, `[k, n]`, are those of `ratios`, the names those of k transformations.
    """
    each = pd.DataFrame(np.column_stack([values, influences])).groupby(np.array(names), sort=False)
    means = each.mean()
    means.loc[AVERAGE] = means.mean()
    errors = standard_error(means.iloc[:, 1:].to_numpy())
    table = pd.DataFrame({"of": means.index, "mean": means[0].to_numpy(), "±": errors})
    return table.to_dict("records")


def measured(
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
