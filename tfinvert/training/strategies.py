"""`tf.distribute` strategies by `--strategy` value; on JAX there is one device."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import keras

from tfinvert.common.backend import BACKEND, require_tensorflow
from tfinvert.config.choices import STRATEGIES
from tfinvert.errors import InputError, first_line
from tfinvert.training import workers

if TYPE_CHECKING:
    import tensorflow as tf


def make_strategy(
    name: str = "auto", facts: Mapping[str, Any] | None = None
) -> tf.distribute.Strategy | None:
    """Creates a strategy over the devices that TensorFlow finds.

    Args:
      name: "one" for a single device; "mirrored" for all accelerators or, without any, all logical
        CPU devices; "auto" for "mirrored" if there are several accelerators, otherwise "one";
        "multi_worker" for all accelerators, or the CPU, of all workers in `TF_CONFIG`. The last
        must be created before TensorFlow is used in any other way.
      facts: JSON values that must be equal on all workers.

    Returns:
      The strategy; None on JAX, which trains on one device.

    Raises:
      InputError: there is no such strategy, the backend does not support it, or the workers cannot
        connect.
    """
    if name not in STRATEGIES:
        raise InputError(f"--strategy must be one of {', '.join(STRATEGIES)}. Received: {name!r}")
    if BACKEND != "tensorflow" and name in ("auto", "one"):
        return None
    require_tensorflow(f"--strategy={name}")
    import tensorflow as tf

    if name == "multi_worker":
        return _make_multi_worker(facts or {})
    accelerators = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(accelerators) > 1 else "one"
    if name == "one":
        return tf.distribute.OneDeviceStrategy("/GPU:0" if accelerators else "/CPU:0")
    devices = accelerators or tf.config.list_logical_devices("CPU")
    # The default all-reduce fails on CPU devices and breaks strategies created afterwards.
    reduction = None if accelerators else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy([d.name for d in devices], reduction)


def _make_multi_worker(facts: Mapping[str, Any]) -> tf.distribute.Strategy:
    import tensorflow as tf

    task = workers.read_tf_config(os.environ.get("TF_CONFIG"))
    group = workers.connect_workers(task, facts)
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        resolver.group = group
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except (tf.errors.OpError, RuntimeError) as error:
        raise InputError(
            "TensorFlow cannot start its workers; check the addresses in TF_CONFIG. Received: "
            f"{first_line(error)}"
        ) from error
    group.start(strategy)
    return strategy


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which variables are created on the devices of a strategy."""
    return strategy.scope() if strategy else contextlib.nullcontext()


def num_devices(strategy: tf.distribute.Strategy | None) -> int:
    """Returns the number of devices of a strategy."""
    return strategy.num_replicas_in_sync if strategy else 1


def worker_group(strategy: tf.distribute.Strategy | None) -> workers.WorkerGroup:
    """Returns the processes that share a strategy, usually this one alone."""
    resolver = strategy.cluster_resolver if strategy else None
    return getattr(resolver, "group", None) or workers.WorkerGroup()


def check_batch_size(batch_size: int, devices: int) -> None:
    """Checks that the devices can share a batch evenly.

    Raises:
      InputError: they cannot.
    """
    if batch_size % devices:
        raise InputError(
            f"--batch_size must be a multiple of the {devices} devices. Received: {batch_size}"
        )


def distribute_dataset(
    strategy: tf.distribute.Strategy | None, shards: Iterable[Any], batch_size: int
) -> Iterable[Any]:
    """Distributes batches over the devices in a reproducible order.

    Args:
      strategy: the devices.
      shards: this process' shards of endless batches, a `tf.data.Dataset`; without a strategy also
        any other iterable.
      batch_size: images per batch, over all processes.

    Returns:
      Distributed batches; on JAX, tuples of arrays.
    """
    if strategy is None:
        return shards.as_numpy_iterator() if hasattr(shards, "as_numpy_iterator") else shards
    import tensorflow as tf

    if strategy.num_replicas_in_sync == 1 and not tf.config.list_logical_devices("GPU"):
        return shards  # nothing to share, and no device memory to prefetch to
    if worker_group(strategy).size == 1:
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return strategy.experimental_distribute_dataset(shards.with_options(options))
    per_device = batch_size // strategy.num_replicas_in_sync
    # Without a declared infinite cardinality the workers would synchronise before every batch to
    # find out whether each still has one.
    infinite = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    batches = shards.rebatch(per_device, drop_remainder=True).apply(infinite)
    return strategy.distribute_datasets_from_function(lambda context: batches)


def broadcast_variables(
    strategy: tf.distribute.Strategy | None, variables: Iterable[keras.Variable]
) -> None:
    """Assigns the chief's values to every process; all processes must call it."""
    group = worker_group(strategy)
    if group.size == 1:
        return
    import tensorflow as tf

    variables = [variable.value for variable in variables]
    weights = [variable for variable in variables if variable.dtype.is_floating]

    def chief_values() -> list[tf.Tensor]:
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group == 0
        masked = [tf.where(first, weight, tf.zeros_like(weight)) for weight in weights]
        return context.all_reduce("sum", masked)  # exactly the first's, as all others are 0

    values = tf.function(lambda: strategy.run(chief_values))()
    for weight, value in zip(weights, values, strict=True):
        weight.assign(strategy.experimental_local_results(value)[0])
    counters = [variable for variable in variables if not variable.dtype.is_floating]
    counts = group.broadcast(lambda: [counter.numpy().tolist() for counter in counters])
    for counter, count in zip(counters, counts, strict=True):
        counter.assign(count)
