"""Flags and values that were renamed: their old names, which flags.json files of old runs hold."""

from collections.abc import Mapping
from typing import Any

# Old name → new name.
TRAINING_FLAGS = {
    "accumulate": "accumulation_steps",
    "averaging": "ema_decay",
    "dtype": "weights_dtype",
    "jitter": "color_jitter",
    "samples": "train_sampler",
    "spike": "spike_threshold",
    "spread": "uncertainty",
    "start": "init_from",
    "units": "hidden_units",
}
# Old value → new value.
UNCERTAINTY_VALUES = {"beside": "joint", "alone": "frozen"}
LOSS_NAMES = {"squared": "mse", "absolute": "mae"}


def rename_losses(spec: str) -> str:
    """A loss specification with the new names of its losses, for example "mse:10,ssim"."""
    terms = []
    for term in spec.split(","):
        name, colon, weight = term.partition(":")
        terms.append(f"{LOSS_NAMES.get(name, name)}{colon}{weight}")
    return ",".join(terms)


def rename_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a run with their new names and values; other flags stay as they are."""
    renamed = {TRAINING_FLAGS.get(name, name): value for name, value in values.items()}
    mode, loss = renamed.get("uncertainty"), renamed.get("loss")
    if isinstance(mode, str):
        renamed["uncertainty"] = UNCERTAINTY_VALUES.get(mode, mode)
    if isinstance(loss, str):
        renamed["loss"] = rename_losses(loss)
    return renamed
