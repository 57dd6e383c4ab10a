"""`--strategy` values → tf.distribute strategies."""

import tensorflow as tf

from tfinvert.errors import InputError

NAMES = ("auto", "one", "mirrored")


def make(name: str = "auto") -> tf.distribute.Strategy:
    """The strategy of that name over the devices TensorFlow sees.

    Args:
      name: "one" for one device; "mirrored" for every accelerator, or, where there is none, every
        logical CPU device; "auto" for "mirrored" where there is more than one accelerator.

    Raises:
      InputError: there is no such strategy.
    """
    accelerators = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(accelerators) > 1 else "one"
    if name == "one":
        return tf.distribute.OneDeviceStrategy("/GPU:0" if accelerators else "/CPU:0")
    if name == "mirrored":
        devices = accelerators or tf.config.list_logical_devices("CPU")
        # On CPU devices the default all-reduce fails, and takes later strategies down with it.
        reduction = None if accelerators else tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy([d.name for d in devices], reduction)
    raise InputError(f"strategy must be one of {', '.join(NAMES)}. Received: {name!r}")


def check_batch(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Raises InputError unless the strategy's devices can share a batch of that size evenly."""
    if batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"batch_size must be a multiple of the {strategy.num_replicas_in_sync} devices. "
            f"Received: {batch_size}"
        )
