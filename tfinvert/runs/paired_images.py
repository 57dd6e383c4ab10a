"""Images whose features were computed elsewhere, for inverters of such features."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfinvert.config.stored_pairs import PairsConfig
from tfinvert.data.stored_pairs import PairedPhotographs, StoredPairs
from tfinvert.errors import InputError
from tfinvert.features.stored import StoredFeature
from tfinvert.inverter import Inverter
from tfinvert.metrics.evaluation import subsampling_stride


def open_pairs(
    inverters: Mapping[str, Inverter], data: str, config: PairsConfig | None
) -> StoredPairs | None:
    """Opens the stored features that inverters need; None if they compute theirs.

    Args:
      inverters: inverters by name.
      data: the photographs, `folder:PATH`.
      config: the file of the features; shape and view are those that the inverters were trained on.

    Raises:
      InputError: an inverter needs features and there are none, no inverter needs those that there
        are, the inverters need different ones, or see `StoredPairs`.
    """
    stored = {k: x for k, x in inverters.items() if isinstance(x.feature, StoredFeature)}
    if stored and config is None:
        name, inverter = next(iter(stored.items()))
        raise InputError(
            f"{name} inverts {inverter.feature.name}, which was computed elsewhere; give the "
            "features of the photographs with --pairs=FILE. Received: no --pairs"
        )
    if config is None:
        return None
    if not stored:
        raise InputError(
            "--pairs is for inverters that were trained with --pairs; omit it. Received: "
            f"{', '.join(x.feature.name for x in inverters.values())}"
        )
    kinds = {
        name: (tuple(x.feature.spec.shape), x.card.get("pairs_view", config.view))
        for name, x in stored.items()
    }
    if len({*kinds.values()}) > 1:
        raise InputError(
            "--pairs has features of one shape, of one view; give inverters of different ones "
            f"separately. Received: {', '.join(f'{k} of {s} ({v})' for k, (s, v) in kinds.items())}"
        )
    shape, view = next(iter(kinds.values()))
    return StoredPairs(dataclasses.replace(config, shape=shape, view=view), data)


def remember_features(
    feature: StoredFeature, source: PairedPhotographs, images: np.ndarray, limit: int
) -> StoredFeature:
    """Returns a feature that has the features of images.

    Args:
      feature: the feature.
      source: the photographs.
      images: what `read_images` read from the source.
      limit: the limit that it read them with.
    """
    return feature.remember(
        images, source.features, source.rows[:: subsampling_stride(source, limit)]
    )


def attach_features(
    inverter: Inverter, source: PairedPhotographs, images: np.ndarray, limit: int
) -> Inverter:
    """Returns an inverter that encodes these images, see `remember_features`.

    An inverter that computes its feature is returned unchanged.
    """
    if not isinstance(inverter.feature, StoredFeature):
        return inverter
    return Inverter(
        remember_features(inverter.feature, source, images, limit),
        inverter.standardization,
        inverter.network,
        inverter.card,
        inverter.uncertainty_head,
        inverter.flow,
    )
