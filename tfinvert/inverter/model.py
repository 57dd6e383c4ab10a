"""The public class `Inverter`: reconstructs images from their features."""

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np

from tfinvert.common.backend import default_settings, require_tensorflow
from tfinvert.common.files import user_path
from tfinvert.config.registry import ENDPOINTS, INVERTER_TOOLS
from tfinvert.errors import InputError
from tfinvert.features.base import Feature
from tfinvert.features.standardization import Standardization
from tfinvert.inverter import serialization, uncertainty
from tfinvert.inverter.decoder import Decoder
from tfinvert.inverter.flow_matching import DEFAULT_STEPS, FlowSampler
from tfinvert.inverter.predictor import Predictor
from tfinvert.inverter.sampling import ImageSampler
from tfinvert.networks.uncertainty import UncertaintyHead
from tfinvert.zoo import registry


class Inverter:
    """Reconstructs images from themselves or from their features.

    Images are the path of a JPEG or PNG file, a Pillow image, an array or tensor `[H, W, 3]` or
    `[B, H, W, 3]`, or a list of files, Pillow images and arrays `[H, W, 3]`. Arrays are RGB, uint8
    or floating point in [0, 1]. One image gives one result, without a batch axis; a list gives an
    array if all results have the same shape, and a list otherwise. Features are arrays or tensors,
    one `[*feature.spec.shape]` or several `[B, *feature.spec.shape]`.

    If `any_size`, images may have any size of at least one cell, and a list may hold images of
    different sizes. Sides that are no multiple of the grid's are padded by reflection below and to
    the right, and the result is cropped; large images are processed in overlapping tiles, without
    seams. Other inverters take arrays of the size `feature.image_shape` only; of files and Pillow
    images they use the largest central crop of that shape, resized.

    An inverter can be pickled and copied with `copy.deepcopy`, before and after use. Keras' global
    settings (`keras.json`, dtype policy) have no effect on it.

    In a notebook, an inverter shows a summary of itself; `show` compares images with their
    reconstructions.

    Attributes:
      feature: the representation Φ that is inverted.
      standardization: mean and scale that features are standardised with.
      network: Keras model from standardised features to images.
      card: provenance (data, steps, seed, versions, metrics) as JSON values.
      flow: model that samples images, see `sample`; None if the inverter cannot sample.
      decoder: the same parts as functions of tensors, and the multiples that sizes are padded to.
    """

    def __init__(
        self,
        feature: Feature,
        standardization: Standardization,
        network: keras.Model,
        card: Mapping[str, Any] | None = None,
        uncertainty_head: UncertaintyHead | None = None,
        flow: FlowSampler | None = None,
    ):
        """Combines the parts of an inverter.

        Raises:
          InputError: the input shape of the network is not the shape of the feature.
        """
        self.feature = feature
        self.standardization = standardization
        self.network = network
        self.card = dict(card or {})
        self.flow = flow
        self.uncertainty_head = uncertainty_head

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns the parts for pickle and `copy`, without compiled functions."""
        parts = self.feature, self.standardization, self.network, self.card
        return type(self), (*parts, self.uncertainty_head, self.flow)

    @property
    def uncertainty_head(self) -> UncertaintyHead | None:
        """Model of the per-pixel standard deviation, see `uncertainty`; None if there is none."""
        return self.decoder.uncertainty_head

    @uncertainty_head.setter
    def uncertainty_head(self, head: UncertaintyHead | None) -> None:
        # Compiled functions hold the old head, so new ones are needed.
        self.decoder = Decoder(self.feature, self.standardization, self.network, head)
        self._predictor = Predictor(self.decoder)
        self._sampler = ImageSampler(self._predictor, self.flow)

    @property
    def spread(self) -> UncertaintyHead | None:
        """Deprecated name of `uncertainty_head`."""
        message = "Inverter.spread is deprecated; use Inverter.uncertainty_head"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.uncertainty_head

    @property
    def any_size(self) -> bool:
        """True if images of any size of at least one cell are accepted."""
        return self.decoder.any_size

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the reconstruction of an image of `feature.image_shape`."""
        return self.decoder.output_size

    @default_settings
    def at(self, size: Sequence[int]) -> "Inverter":
        """Returns this inverter for images of another (height, width), with the same weights.

        An inverter at another size cannot sample: a flow is bound to the size it was trained at.

        Raises:
          InputError: the inverter supports one image size only, or `size` is not a multiple of
            `decoder.size_multiple`.
        """
        if tuple(size) == self.feature.image_shape[:2]:
            return self
        decoder = self.decoder.at(size)
        parts = decoder.feature, decoder.standardization, decoder.network
        return Inverter(*parts, self.card, decoder.uncertainty_head)

    @default_settings
    def encode(self, images: Any) -> Any:
        """Images → features: `[B, *feature.image_shape]` becomes `[B, *feature.spec.shape]`.

        If `any_size`, sides are padded by reflection to multiples of `decoder.size_multiple`.

        Args:
          images: one or several, see the class.

        Returns:
          float32: `[*feature.spec.shape]` for one image, `[B, *feature.spec.shape]` for several, or
          a list of arrays.

        Raises:
          InputError: a file cannot be read; the images have the wrong shape or type, are smaller
            than a cell, or have values outside [0, 1].
        """
        return self._predictor.encode(images)

    @default_settings
    def invert(self, features: Any) -> Any:
        """Features → reconstructions: `[B, *feature.spec.shape]` becomes `[B, *output_size, 3]`.

        Args:
          features: one `[*feature.spec.shape]` or several `[B, *feature.spec.shape]`. If
            `any_size`, also grids `[h, w, channels]` or `[B, h, w, channels]` of other sizes, and
            lists of grids.

        Returns:
          float32 in [0, 1]: `[*output_size, 3]` for one feature, `[B, *output_size, 3]` for
          several, or a list of arrays.

        Raises:
          InputError: the features have the wrong shape, or are not finite.
        """
        return self._predictor.decode(features)

    @default_settings
    def reconstruct(self, images: Any) -> Any:
        """Images → features → reconstructions.

        Args:
          images: one or several, see the class.

        Returns:
          float32 in [0, 1]: `[*output_size, 3]` for one image and `[B, *output_size, 3]` for
          several; if `any_size`, of the size of the images, and a list of arrays if they differ in
          size.

        Raises:
          InputError: as `encode`.
        """
        return self._predictor.reconstruct(images)

    @default_settings
    def show(self, images: Any) -> Any:
        """Compares images with their reconstructions.

        Args:
          images: one or several, see the class.

        Returns:
          A `tfinvert.reporting.comparison.Comparison` with the attributes `image`,
          `reconstruction` and `error`, which a notebook shows as pictures.

        Raises:
          InputError: as `encode`.
        """
        return INVERTER_TOOLS["show"](self, images)

    @default_settings
    def uncertainty(self, features: Any, along: uncertainty.Axes = "rgb") -> Any:
        """Features or images → standard deviation of `invert` from the photograph, at every pixel.

        About 68 % of the differences lie within one standard deviation, for images like those the
        inverter was trained on.

        Args:
          features: as `invert` accepts them, or images as `reconstruct` accepts them; an array
            whose last axis is 3 is an image, unless the feature has three channels.
          along: "rgb" for red, green and blue; "axes" for brightness, red-green and blue-yellow,
            the projections of a pixel on the rows of `networks.uncertainty.COLOR_AXES`.

        Returns:
          float32 in units of the image, of the shape of the result of `invert` or `reconstruct`.

        Raises:
          InputError: the inverter has no uncertainty head; or as `invert` or `reconstruct`.
        """
        return uncertainty.predict_std(self._predictor, features, along)

    @default_settings
    def sample(
        self, features: Any, n: int, *, seed: int = 0, steps: int = DEFAULT_STEPS
    ) -> np.ndarray:
        """Features or images → n random images each that have the same features.

        `invert` gives the mean of all such images.

        Samples are reproducible: the noise of the k-th sample of the i-th feature is determined by
        (seed, i, k), so a larger n extends the samples of a smaller one.

        Args:
          features: one `[*feature.spec.shape]`, or several `[B, *feature.spec.shape]`; or images of
            the size `feature.image_shape`, to which files and Pillow images are cropped and
            resized. An array whose last axis is 3 is an image, as for `uncertainty`.
          n: number of samples per feature.
          seed: random seed, not negative.
          steps: number of integration steps of two network evaluations each; fewer are faster and
            less accurate.

        Returns:
          float32 in [0, 1]: `[n, *output_size, 3]` for one feature, `[B, n, *output_size, 3]` for
          several.

        Raises:
          InputError: the inverter cannot sample, a number is out of range, or the features or
            images are invalid.
        """
        return self._sampler.sample(features, n, seed=seed, steps=steps)

    @default_settings
    def round_weights(self, dtype: str) -> None:
        """Rounds the weights to the precision of a type that `save` accepts, e.g. "float16"."""
        models = serialization.named_models(self.network, self.uncertainty_head, self.flow)
        for model in models.values():
            model.set_weights([weight.astype(dtype) for weight in model.get_weights()])

    @default_settings
    def save(
        self, path: str | pathlib.Path, dtype: Literal["float32", "float16"] = "float32"
    ) -> None:
        """Writes the inverter to a new, self-contained directory, atomically.

        Args:
          path: a directory that does not exist yet.
          dtype: type of the stored network weights; float16 halves the size and rounds the weights.
            A feature's model that is saved along keeps its values.

        Raises:
          InputError: the directory already exists.
        """
        parts = self.feature, self.standardization, self.network, self.card
        serialization.write(path, *parts, self.uncertainty_head, self.flow, dtype=dtype)

    @default_settings
    def export(
        self,
        path: str | os.PathLike[str],
        *,
        version: int = 1,
        endpoints: Sequence[str] = tuple(ENDPOINTS),
    ) -> pathlib.Path:
        """Writes a SavedModel for TensorFlow Serving to `path/version/`, as `tfinvert export`.

        Args:
          path: the model's directory, whose name is the model's name; it may hold other versions.
          version: a whole number of at least 0.
          endpoints: any of "serving_default" (images), "reconstruct_bytes" (image files) and
            "invert" (features). Of a feature that is computed by Python on the host, only "invert"
            can be exported.

        Returns:
          The directory of this version.

        Raises:
          InputError: Keras does not run on TensorFlow, the version exists already or cannot be
            written there, an argument is wrong, or the inverter cannot be served.
        """
        require_tensorflow("Inverter.export")
        return INVERTER_TOOLS["export"](self, path, version=version, endpoints=endpoints)

    def __repr__(self) -> str:
        height, width = self.feature.image_shape[:2]
        size = "any size" if self.any_size else f"{height}×{width} pixels"
        parameters = self.network.count_params()
        return f"<Inverter of {self.feature.name}, {size}, {parameters:,} parameters>"

    def _repr_html_(self) -> str:
        return INVERTER_TOOLS["summary"](self)

    @classmethod
    @default_settings
    def load(cls, path: str | pathlib.Path) -> "Inverter":
        """Reads an inverter that `save` wrote; runs no code from the directory.

        Raises:
          InputError: there is no such directory; a file is missing, truncated, of another format or
            larger than its card allows; or a weight is not finite.
        """
        path = user_path(path)
        if not path.is_dir():
            raise InputError(
                f"there is no inverter at {path}; give the directory of a saved inverter or one of "
                f"{', '.join(registry.shipped())}"
            )
        return cls(*serialization.read(path))


def load(path: str | pathlib.Path) -> Inverter:
    """Loads an inverter from a directory, or one that ships with the package.

    Args:
      path: a directory that `Inverter.save` wrote, or a name from `shipped()`, for example "hog";
        "hog@2" accepts only that version. The card of a shipped inverter has the version in
        `shipped_as`, and in `commands` and `differences` how to train it again.

    Raises:
      InputError: there is no such inverter, another version of it ships, or the directory is
        damaged.
    """
    shipped = None
    if not (user_path(path) / registry.CARD_FILE).exists():
        shipped = registry.find_shipped(str(path))
    if shipped is None:
        return Inverter.load(path)
    directory, versioned_name = shipped
    inverter = Inverter.load(directory)
    inverter.card["shipped_as"] = versioned_name
    inverter.card |= registry.training_commands(directory.name)
    return inverter
