"""Registry of representations: builds features from names or saved descriptions."""

import functools
import inspect
import json
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from tfinvert.common.backend import default_settings
from tfinvert.config.registry import FEATURE_FAMILIES, FEATURES, Registry
from tfinvert.errors import InputError
from tfinvert.features.base import Feature

_FINDERS: list[Callable[[str], Callable[..., Feature] | None]] = []


def register(name: str, factory: Callable[..., Feature]) -> None:
    """Registers a feature: `get(name, **config)` calls `factory(**config)`.

    Raises:
      InputError: the name belongs to another factory, or contains a colon.
    """
    if ":" in name:
        raise InputError(
            "a feature name must not contain a colon, which separates the options. "
            f"Received: {name!r}"
        )
    _register(FEATURES, name, factory)


def register_family(name: str, factory: Callable[..., Feature]) -> None:
    """Registers a family: `get("name/LAYER", **config)` calls `factory("LAYER", **config)`.

    Raises:
      InputError: the name belongs to another factory.
    """
    _register(FEATURE_FAMILIES, name, factory)


def _register(registry: Registry, name: str, factory: Callable[..., Feature]) -> None:
    if registry.setdefault(name, factory) is not factory:
        raise InputError(
            f"the name {name!r} belongs to {registry[name]}; choose another name. "
            f"Received: {factory}"
        )


def register_finder(find: Callable[[str], Callable[..., Feature] | None]) -> None:
    """Registers a function that looks families up by name and returns a factory or None."""
    _FINDERS.append(find)


def names() -> list[str]:
    """Returns the registered names, sorted; those of families end in "/LAYER"."""
    return sorted(FEATURES) + [f"{family}/LAYER" for family in sorted(FEATURE_FAMILIES)]


@default_settings
def get(name: str, **config: Any) -> Feature:
    """Builds the feature with the given name.

    Args:
      name: a registered name. As on the command line, options may follow it: `lbp:cell_size=8` or
        `hog:cell_size=4,color=true`.
      **config: arguments of the feature's constructor, such as `image_shape`. They take precedence
        over options in the name.

    Raises:
      InputError: the feature does not exist, or the configuration is invalid.
    """
    name, _, options = name.partition(":")
    factory = _factory(name)
    defaults = _defaults(factory)
    config = _parse_options(name, options, defaults) | config
    for key, value in config.items():
        if key in defaults and not _matches_type(value, defaults[key]):
            raise _invalid_options(name, defaults, f"{key}={value!r}")
    try:
        inspect.signature(factory).bind(**config)
    except TypeError as error:
        raise _invalid_options(name, defaults, ", ".join(config) or "nothing") from error
    return factory(**config)


def _factory(name: str) -> Callable[..., Feature]:
    if name in FEATURES:
        return FEATURES[name]
    family, _, layer = name.partition("/")
    found = FEATURE_FAMILIES.get(family)
    found = found or next(filter(None, (find(family) for find in _FINDERS)), None)
    if not found or not layer:
        raise InputError(
            f"unknown feature {name!r}; choose one of {', '.join(names())} or a layer of a "
            "keras.applications model, such as mobilenet_v2/LAYER"
        )
    return functools.partial(found, layer)


def _defaults(factory: Callable[..., Feature]) -> dict[str, Any]:
    """Maps a feature's options, its keyword arguments except image_shape, to their defaults."""
    arguments = inspect.signature(factory).parameters.values()
    named = [x for x in arguments if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)]
    return {x.name: x.default for x in named if x.name != "image_shape"}


def _parse_options(name: str, options: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    config = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        try:
            if key not in defaults:
                raise ValueError(key)
            config[key] = _parse_value(value, defaults[key])
        except ValueError as error:
            raise _invalid_options(name, defaults, option) from error
    return config


def _parse_value(text: str, default: Any) -> Any:
    if isinstance(default, str) and not text.startswith('"'):
        return text
    return json.loads(text)


def _matches_type(value: Any, default: Any) -> bool:
    """Returns whether a value has the type of a default that is a bool, a number or a string."""
    if isinstance(default, bool | str):
        return isinstance(value, type(default))
    if isinstance(default, int | float):
        kind = numbers.Integral if isinstance(default, int) else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < math.inf
    return True


def _invalid_options(name: str, defaults: Mapping[str, Any], received: str) -> InputError:
    options = [
        f"{key}={'VALUE' if default is inspect.Parameter.empty else json.dumps(default)}"
        for key, default in defaults.items()
    ]
    remedy = f"the options are {name}:{','.join(options)}" if options else "it has no options"
    return InputError(f"invalid options of {name}; {remedy}. Received: {received}")


def describe(feature: Feature) -> dict[str, Any]:
    """Returns the description of a feature as plain JSON values, for `from_description`."""
    return {"name": feature.name, "config": feature.get_config()}


def from_description(description: Mapping[str, Any]) -> Feature:
    """Builds the feature that `describe` described."""
    return get(description["name"], **description["config"])
