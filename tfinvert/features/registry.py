"""Names of representations, and the way from a name or a saved description to a Feature."""

import functools
import inspect
import json
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from tfinvert.config.registry import FEATURE_FAMILIES, FEATURES, Registry
from tfinvert.errors import InputError
from tfinvert.features.base import Feature

_FINDERS: list[Callable[[str], Callable[..., Feature] | None]] = []


def register(name: str, factory: Callable[..., Feature]) -> None:
    """Makes `get(name, **config)` call `factory(**config)`.

    Raises:
      InputError: the name is taken by another factory, or has a colon in it.
    """
    if ":" in name:
        raise InputError(f"a feature's name takes no colon: options follow it. Received: {name!r}")
    _register(FEATURES, name, factory)


def register_family(name: str, factory: Callable[..., Feature]) -> None:
    """Makes `get("name/LAYER", **config)` call `factory("LAYER", **config)`.

    Raises:
      InputError: the name is taken by another factory.
    """
    _register(FEATURE_FAMILIES, name, factory)


def _register(registry: Registry, name: str, factory: Callable[..., Feature]) -> None:
    if registry.setdefault(name, factory) is not factory:
        raise InputError(
            f"the name {name!r} belongs to {registry[name]}; choose another name. "
            f"Received: {factory}"
        )


def register_finder(find: Callable[[str], Callable[..., Feature] | None]) -> None:
    """Adds families that are found when they are asked for: a name in, a factory or None out."""
    _FINDERS.append(find)


def names() -> list[str]:
    """The registered names, sorted; families end in "/LAYER"."""
    return sorted(FEATURES) + [f"{family}/LAYER" for family in sorted(FEATURE_FAMILIES)]


def get(name: str, **config: Any) -> Feature:
    """The feature of that name; `config` goes to its constructor, for example `image_shape`.

    Options can also follow the name, as they do on the command line: `lbp:cell_size=8` or
    `hog:cell_size=4,color=true`. Those given as arguments win.

    Raises:
      InputError: there is no such feature, or it cannot take that configuration.
    """
    name, _, options = name.partition(":")
    factory = _factory(name)
    defaults = _defaults(factory)
    config = _parse(name, options, defaults) | config
    for key, value in config.items():
        if key in defaults and not _is_like(value, defaults[key]):
            raise _refusal(name, defaults, f"{key}={value!r}")
    try:
        inspect.signature(factory).bind(**config)
    except TypeError as error:
        raise _refusal(name, defaults, ", ".join(config) or "nothing") from error
    return factory(**config)


def _factory(name: str) -> Callable[..., Feature]:
    if name in FEATURES:
        return FEATURES[name]
    family, _, layer = name.partition("/")
    found = FEATURE_FAMILIES.get(family)
    found = found or next(filter(None, (find(family) for find in _FINDERS)), None)
    if not found or not layer:
        raise InputError(
            f"unknown feature {name!r}; there are: {', '.join(names())}, and layers of "
            "keras.applications models, as mobilenet_v2/LAYER"
        )
    return functools.partial(found, layer)


def _defaults(factory: Callable[..., Feature]) -> dict[str, Any]:
    """The options of a feature: every argument it takes by name, the image's shape excepted."""
    arguments = inspect.signature(factory).parameters.values()
    named = [x for x in arguments if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)]
    return {x.name: x.default for x in named if x.name != "image_shape"}


def _parse(name: str, options: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    config = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        try:
            if key not in defaults:
                raise ValueError(key)
            config[key] = _value(value, defaults[key])
        except ValueError as error:
            raise _refusal(name, defaults, option) from error
    return config


def _value(text: str, default: Any) -> Any:
    if isinstance(default, str) and not text.startswith('"'):
        return text
    return json.loads(text)


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value can stand in for a default that is a bool, a number or a string."""
    if isinstance(default, bool | str):
        return isinstance(value, type(default))
    if isinstance(default, int | float):
        kind = numbers.Integral if isinstance(default, int) else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < math.inf
    return True


def _refusal(name: str, defaults: Mapping[str, Any], given: str) -> InputError:
    options = [
        f"{key}={'VALUE' if default is inspect.Parameter.empty else json.dumps(default)}"
        for key, default in defaults.items()
    ]
    accepted = f"options as in {name}:{','.join(options)}" if options else "no options"
    return InputError(f"{name} takes {accepted}. Received: {given}")


def describe(feature: Feature) -> dict[str, Any]:
    """What `from_description` needs, as plain JSON values."""
    return {"name": feature.name, "config": feature.get_config()}


def from_description(description: Mapping[str, Any]) -> Feature:
    """The inverse of `describe`."""
    return get(description["name"], **description["config"])
