"""Images of randomly drawn features: independent units and joint models.

An inverter maps any feature to an image (section 5 of the paper). Images of features whose units
are drawn independently show how much of a feature lies in which units are active together.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import tqdm

from tfinvert.analysis import claims, feature_samplers
from tfinvert.analysis.experiment import Exhibit, Experiment, Measurement, Presentation, make_table
from tfinvert.analysis.feature_samplers import (
    COPULA,
    INDEPENDENT,
    MIXTURE,
    REAL,
    TRUNCATED,
    Sampler,
    best_joint_sampler,
    evaluate_samplers,
    relative_to_real,
)
from tfinvert.analysis.inverters import (
    add_labels,
    inverter_columns,
    inverter_labels,
    shipped_alexnet,
)
from tfinvert.analysis.scores import scale_contrast
from tfinvert.errors import InputError
from tfinvert.features.sift import Sift
from tfinvert.inverter import Inverter
from tfinvert.reporting import charts
from tfinvert.reporting.image_rows import image_rows
from tfinvert.reporting.report import Figure

_MIN_IMAGES, _MAX_VALUES = 12, 10_000
_CONTRAST_GAIN = 2.0


def check(name: str, inverter: Inverter) -> None:
    """Checks that values of the feature can be drawn independently.

    Raises:
      InputError: the feature is SIFT, class probabilities or a grid with too many values.
    """
    feature = inverter.feature
    accepted = f"sample takes vectors and grids of up to {_MAX_VALUES:,} values an image"
    size = math.prod(feature.spec.shape)
    if isinstance(feature, Sift):
        raise InputError(
            f"{accepted}, but not sift, in which a cell has either all values of a keypoint or "
            f"none. Received: {name}, of {feature.name}"
        )
    if feature.log_floor:
        raise InputError(
            f"{accepted}, but not probabilities, which add up to 1 and cannot be drawn one by one. "
            f"Received: {name}, of {feature.name}"
        )
    if size > _MAX_VALUES:
        raise InputError(f"{accepted}. Received: {name}, of {feature.name} with {size:,}")


def measure(
    inverters: dict[str, Inverter],
    images: np.ndarray,
    *,
    seed: int = 0,
    components: int = 64,
    clusters: int = 8,
    repeats: int = 3,
) -> Measurement:
    """Fits samplers on the features of half of the images and compares with the other half.

    Args:
      inverters: by name, from the first layer to the last.
      images: `[n, H, W, 3]` in [0, 1], at least 12.
      seed: random seed of the halves, the samplers and the draws.
      components: maximum number of principal components of the joint models.
      clusters: maximum number of Gaussians of the mixture.
      repeats: number of draws from each sampler, at least 2 for standard errors.

    Raises:
      InputError: there are too few images.
    """
    if len(images) < _MIN_IMAGES:
        raise InputError(
            f"sample takes at least {_MIN_IMAGES} images, for a histogram of each value. "
            f"Received: {len(images)}"
        )
    order = np.random.default_rng(seed).permutation(len(images))
    training, held_out = images[order[::2]], images[order[1::2]]
    models: dict[str, Callable[[np.ndarray], Sampler]] = {
        INDEPENDENT: feature_samplers.IndependentHistograms,
        TRUNCATED: feature_samplers.TruncatedGaussian,
        COPULA: functools.partial(
            feature_samplers.GaussianCopula, components=components, seed=seed
        ),
        MIXTURE: functools.partial(
            feature_samplers.GaussianMixtureCopula,
            components=components,
            clusters=clusters,
            seed=seed,
        ),
    }
    rows, pictures, dimensions, labels = [], {}, [], inverter_labels(inverters)
    for name, inverter in tqdm.tqdm(inverters.items(), "sample", leave=False):
        outcome = evaluate_samplers(inverter, training, held_out, models, seed, repeats)
        rows += [inverter_columns(name, inverter) | row for row in outcome.rows]
        pictures[labels[name]] = outcome.images
        dimensions.append(outcome.dimensions)
    table = make_table(add_labels(rows, inverters))
    return Measurement(
        table,
        {"relative": relative_to_real(table), "pictures": pictures},
        {
            "training_images": len(training),
            "held_out_images": len(held_out),
            "dimensions": dimensions,
            "repeats": repeats,
        },
    )


def present(measurement: Measurement) -> Presentation:
    """Presents distances from real features by sampler, and images of draws."""
    relative, facts = measurement.arrays["relative"], measurement.facts
    return Presentation(
        "Images of random features",
        _lead(
            facts["training_images"],
            facts["held_out_images"],
            facts["dimensions"],
            facts["repeats"],
        ),
        [_finding(label, own) for label, own in relative.groupby("label", sort=False)],
        [
            *_charts(relative),
            *(
                image_rows(
                    {
                        source: scale_contrast(images, _CONTRAST_GAIN)
                        for source, images in pictures.items()
                    },
                    title=f"Images of random features: {label}",
                    caption=f"Images of {label} features of photographs, and of draws from models "
                    f"of them; contrast times {_CONTRAST_GAIN:g} about each image's mean colour.",
                )
                for label, pictures in measurement.arrays["pictures"].items()
            ),
        ],
    )


def _lead(training: int, held_out: int, dimensions: Sequence[int], repeats: int) -> str:
    fewest, most = min(dimensions), max(dimensions)
    span = f"{most}" if fewest == most else f"{fewest} to {most}"
    return (
        f"Samplers are fitted on the features of {training} photographs, and their draws are "
        f"inverted. Fréchet distances are to the features of {held_out} other photographs, along "
        f"their {span} leading principal components; those of images are between the features of "
        "the reconstructions. With so few samples every such distance is biased upwards: all "
        f"samplers draw {training} features, {repeats} times, and the equally many real features "
        "of the first half give the smallest distance that can be expected. Layers with negative "
        "values have plain Gaussians in place of truncated ones."
    )


def _finding(label: str, table: pd.DataFrame) -> str:
    table = table.set_index("source")
    best = best_joint_sampler(table["frechet_distance"])
    independent, joint = table.loc[INDEPENDENT], table.loc[best]
    contrasts = table["image_contrast"] / table["image_contrast"][REAL]
    far, near = independent["frechet_distance"], joint["frechet_distance"]
    image_ratio = independent["image_frechet_distance"] / joint["image_frechet_distance"]
    return (
        f"{label}: independent draws are {far:.1f} times as far from real features as other real "
        f"features are, those of the {best} {near:.1f} times, nearer by a factor of "
        f"{far / near:.1f}; decoded and encoded again, by a factor of {image_ratio:.1f}. Their "
        f"images have {contrasts[INDEPENDENT]:.0%} and {contrasts[best]:.0%} of the contrast of "
        "those of real features."
    )


def _charts(table: pd.DataFrame) -> list[Figure]:
    described = {
        "frechet_distance": ("features drawn", "Distances of the draws from real features"),
        "image_frechet_distance": ("their images", "Distances of their images, encoded again"),
    }
    return [
        charts.table_dot_chart(
            table,
            column,
            f"{column}_se",
            item="source",
            series="label",
            title=f"Distance from real features: {title}",
            caption=f"{caption}, in units of the distance between two halves of real ones; "
            "bars are standard errors over draws.",
            x="Fréchet distance / that of real features",
            ordered=True,
        )
        for column, (title, caption) in described.items()
    ]


EXPERIMENT = Experiment(
    order=80,
    default_inverters=shipped_alexnet("conv5", "fc6", "fc7", "fc8"),
    measure=measure,
    judge=claims.sample,
    present=present,
    check=check,
    changes_photographs=True,
    exhibits=(
        Exhibit(
            90,
            "Features drawn at random",
            "Images of random features",
            "Images of features that belong to no photograph. With units drawn independently, as "
            "in the paper, they mix everything; models of which units are active together give "
            "images more like those of real features, in the first row.",
            "Joint samples",
            slice(2),
        ),
    ),
)
