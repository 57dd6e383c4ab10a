"""Settings that are out of range, each refused in one line."""

import dataclasses
import re

import pytest

from tests.training.runs import SETTINGS
from tfinvert import InputError
from tfinvert.training.settings import Settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "--steps must be positive. Received: 0"),
        ({"batch_size": -1}, "--batch_size must be positive"),
        ({"learning_rate": 0.0}, "--learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "--learning_rate must be positive"),
        ({"accumulation_steps": 0}, "--accumulation_steps must be positive. Received: 0"),
        ({"ema_decay": 1.0}, "--ema_decay must be in [0, 1)"),
        ({"spike_threshold": 1.0}, "--spike_threshold must exceed 1. Received: 1.0"),
        ({"seed": -1}, "--seed must be between 0"),
        ({"seed": 2**32}, "--seed must be between 0"),
        ({"width": float("inf")}, "--width must be finite"),
        ({"warmup_steps": -1}, "--warmup_steps must not be negative"),
        ({"cached_views": -1}, "--cached_views must not be negative"),
        ({"weight_decay": -0.1}, "--weight_decay must be finite and not negative"),
    ],
)
def test_settings_out_of_range(changes, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        dataclasses.replace(SETTINGS, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["loss", "optimizer", "network", "precision", "uncertainty", "jit"]
)
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match=f"{name} must be one of .*. Received: 'best'"):
        Settings(steps=1, **{name: "best"})
