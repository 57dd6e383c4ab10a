"""Names of representations, and the way from a name or a saved description to a Feature."""

from collections.abc import Callable, Mapping
from typing import Any

from tfinvert.errors import InputError
from tfinvert.features.base import Feature

_FACTORIES: dict[str, Callable[..., Feature]] = {}


def register(name: str, factory: Callable[..., Feature]) -> None:
    """Makes `get(name, **config)` call `factory(**config)`.

    Raises:
      InputError: the name is taken by another factory.
    """
    if _FACTORIES.setdefault(name, factory) is not factory:
        raise InputError(f"the feature name {name!r} is already taken by {_FACTORIES[name]}")


def names() -> list[str]:
    """The registered names, sorted."""
    return sorted(_FACTORIES)


def get(name: str, **config: Any) -> Feature:
    """The feature of that name; `config` goes to its constructor, for example `image_shape`.

    Raises:
      InputError: there is no such feature, or it cannot take that configuration.
    """
    if name not in _FACTORIES:
        raise InputError(f"unknown feature {name!r}; there are: {', '.join(names())}")
    return _FACTORIES[name](**config)


def describe(feature: Feature) -> dict[str, Any]:
    """What `from_description` needs, as plain JSON values."""
    return {"name": feature.name, "config": feature.get_config()}


def from_description(description: Mapping[str, Any]) -> Feature:
    """The inverse of `describe`."""
    return get(description["name"], **description["config"])
