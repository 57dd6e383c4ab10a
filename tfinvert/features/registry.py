"""Registry of representations: builds features from names or saved descriptions."""

import functools
import inspect
import json
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tfinvert.common.backend import default_settings
from tfinvert.config.registry import FEATURE_FAMILIES, FEATURES, Registry
from tfinvert.errors import InputError
from tfinvert.features.base import Feature

_RUNS_CODE = "python"  # the feature whose options name a file that is run
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
        `hog:cell_size=4,color=true`. The first argument of a factory needs no name if it has no
        default, as in `python:encoder.py:encode`. A value that contains a comma is a JSON string:
        `alexnet/fc6:weights="a,b.npz"`.
      **config: arguments of the feature's constructor, such as `image_shape`. They take precedence
        over options in the name.

    Raises:
      InputError: the feature does not exist, or the configuration is invalid.
    """
    name, _, options = name.partition(":")
    factory = _factory(name)
    accepted = _options_of(factory)
    config = _parse_options(name, options, accepted) | config
    for key, value in config.items():
        if key in accepted.defaults and not _matches_type(value, accepted.defaults[key]):
            raise _invalid_options(name, accepted, f"{key}={value!r}")
    try:
        inspect.signature(factory).bind(**config)
    except TypeError as error:
        raise _invalid_options(name, accepted, ", ".join(config) or "nothing") from error
    feature = factory(**config)
    if not isinstance(feature, Feature):
        raise InputError(
            f"{name} must be registered with a class or function that makes a Feature. Received: "
            f"{type(feature).__name__}"
        )
    return feature


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


class _Options(NamedTuple):
    """The options of a feature, the arguments of its factory except image_shape.

    Attributes:
      defaults: their default values; `inspect.Parameter.empty` for none.
      positional: the option that needs no name, a string: the factory's first argument, if it has
        no default; "" if there is none.
    """

    defaults: dict[str, Any]
    positional: str


def _options_of(factory: Callable[..., Feature]) -> _Options:
    arguments = inspect.signature(factory).parameters.values()
    named = [x for x in arguments if x.kind in (x.POSITIONAL_OR_KEYWORD, x.KEYWORD_ONLY)]
    positional = [
        x.name
        for x in named[:1]
        if x.kind is x.POSITIONAL_OR_KEYWORD and x.default is x.empty and x.name != "image_shape"
    ]
    defaults = {x.name: x.default for x in named if x.name != "image_shape"}
    return _Options(defaults, "".join(positional))


# An option, KEY=VALUE or VALUE: commas separate options except in a value that is a JSON string.
_OPTION = re.compile(r'(?:([^",=]*)=)?("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)')


def _parse_options(name: str, text: str, accepted: _Options) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for number, option in enumerate(_OPTION.finditer(text)):
        key, value = option.groups()
        if not key and not value and "=" not in option[0]:
            continue  # an empty option
        try:
            if key is None and number == 0 and accepted.positional:
                config[accepted.positional] = _parse_value(value, "")
            elif key in accepted.defaults:
                config[key] = _parse_value(value, accepted.defaults[key])
            else:
                raise ValueError(key)
        except ValueError as error:
            received = option[0].removesuffix(",")
            cut = [key for key, value in config.items() if isinstance(value, str)][-1:]
            raise _invalid_options(name, accepted, received, cut) from error
    return config


def _parse_value(text: str, default: Any) -> Any:
    if isinstance(default, str) and not text.startswith('"'):
        return text
    try:
        return json.loads(text)
    except ValueError:
        if default is inspect.Parameter.empty and not text.startswith('"'):
            return text
        raise


def _matches_type(value: Any, default: Any) -> bool:
    """Returns whether a value has the type of a default that is a bool, a number or a string."""
    if isinstance(default, bool | str):
        return isinstance(value, type(default))
    if isinstance(default, int | float):
        kind = numbers.Integral if isinstance(default, int) else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < math.inf
    return True


def _invalid_options(
    name: str, accepted: _Options, received: str, cut: Sequence[str] = ()
) -> InputError:
    """The error of options; `cut` may name an option whose value a comma may have cut off."""
    options = [
        key.upper()
        if key == accepted.positional
        else f"{key}={'VALUE' if default is inspect.Parameter.empty else json.dumps(default)}"
        for key, default in accepted.defaults.items()
    ]
    remedy = f"the options are {name}:{','.join(options)}" if options else "it has no options"
    if cut and "=" not in received:
        remedy += f'; put a value with a comma in double quotes, as in {cut[0]}="a,b"'
    return InputError(f"invalid options of {name}; {remedy}. Received: {received}")


def describe(feature: Feature) -> dict[str, Any]:
    """Returns the description of a feature as plain JSON values, for `from_description`."""
    return {"name": feature.name, "config": feature.get_config()}


def from_description(description: Mapping[str, Any]) -> Feature:
    """Builds the feature that `describe` described, without running code from outside of packages.

    Raises:
      InputError: as `get`; or the description, perhaps of a file by others, names code to run.
    """
    if description["name"].partition(":")[0] == _RUNS_CODE:
        raise InputError(
            f"the feature {_RUNS_CODE} of a saved file is refused, as it would run code; call "
            f"tfinvert.features.get. Received: {description['name']}"
        )
    return get(description["name"], **description["config"])
