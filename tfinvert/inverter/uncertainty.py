"""Predicts the standard deviation of every pixel of a reconstruction."""

from typing import Any, Literal, get_args

from keras import ops

from tfinvert.errors import InputError
from tfinvert.inverter.inputs import are_images
from tfinvert.inverter.predictor import Predictor
from tfinvert.networks.uncertainty import rgb_std

Axes = Literal["rgb", "axes"]


def predict_std(predictor: Predictor, features: Any, along: Axes = "rgb") -> Any:
    """Features or images → standard deviations; see `Inverter.uncertainty`."""
    if along not in get_args(Axes):
        raise InputError(f"along must be rgb or axes. Received: {along!r}")
    decoder = predictor.decoder
    decoder.require_uncertainty()
    predict = predictor.reconstruct if are_images(decoder, features) else predictor.decode
    std = predict(features, decoder.decode_std)
    if along == "axes":
        return std
    if isinstance(std, list):
        return [ops.convert_to_numpy(rgb_std(one)) for one in std]
    return ops.convert_to_numpy(rgb_std(std))
