"""Inverters that are to be compared."""

from collections.abc import Mapping

from tfinvert.errors import InputError
from tfinvert.inverter import Inverter


def common_size(inverters: Mapping[str, Inverter]) -> tuple[int, int]:
    """(height, width) of the images that all of them take.

    Raises:
      InputError: there is none, or they take different sizes.
    """
    sizes = {name: inverter.feature.image_shape[:2] for name, inverter in inverters.items()}
    if len(set(sizes.values())) != 1:
        given = ", ".join(f"{name} takes {h}×{w}" for name, (h, w) in sizes.items())
        raise InputError(
            f"give inverters of one image size, so that they see the same images. Received: "
            f"{given or 'none'}"
        )
    return next(iter(sizes.values()))
