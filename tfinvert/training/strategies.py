"""`tf.distribute` strategies by `--strategy` value."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfinvert.config.choices import STRATEGIES
from tfinvert.errors import InputError, first_line
from tfinvert.training import workers


def make_strategy(
    name: str = "auto", facts: Mapping[str, Any] | None = None
) -> tf.distribute.Strategy:
    """Creates a strategy over the devices that TensorFlow finds.

    Args:
      name: "one" for a single device; "mirrored" for all accelerators or, without any, all logical
        CPU devices; "auto" for "mirrored" if there are several accelerators, otherwise "one";
        "multi_worker" for all accelerators, or the CPU, of all workers in `TF_CONFIG`. The last
        must be created before TensorFlow is used in any other way.
      facts: JSON values that must be equal on all workers.

    Raises:
      InputError: there is no such strategy, or the workers cannot connect.
    """
    if name == "multi_worker":
        return _make_multi_worker(facts or {})
    accelerators = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(accelerators) > 1 else "one"
    if name == "one":
        return tf.distribute.OneDeviceStrategy("/GPU:0" if accelerators else "/CPU:0")
    if name == "mirrored":
        devices = accelerators or tf.config.list_logical_devices("CPU")
        # The default all-reduce fails on CPU devices and breaks strategies created afterwards.
        reduction = None if accelerators else tf.distribute.ReductionToOneDevice()
        return tf.distribute.MirroredStrategy([d.name for d in devices], reduction)
    raise InputError(f"--strategy must be one of {', '.join(STRATEGIES)}. Received: {name!r}")


class _ConnectedClusterResolver(tf.distribute.cluster_resolver.TFConfigClusterResolver):
    """The cluster of `TF_CONFIG`, with the connections between its workers."""

    def __init__(self, group: workers.WorkerGroup):
        super().__init__()
        self.group = group


def _make_multi_worker(facts: Mapping[str, Any]) -> tf.distribute.Strategy:
    task = workers.read_tf_config(os.environ.get("TF_CONFIG"))
    group = workers.connect_workers(task, facts)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(_ConnectedClusterResolver(group))
    except (tf.errors.OpError, RuntimeError) as error:
        raise InputError(
            "TensorFlow cannot start its workers; check the addresses in TF_CONFIG. Received: "
            f"{first_line(error)}"
        ) from error
    group.start(strategy)
    return strategy


def worker_group(strategy: tf.distribute.Strategy) -> workers.WorkerGroup:
    """Returns the processes that share a strategy, usually this one alone."""
    resolver = strategy.cluster_resolver
    if isinstance(resolver, _ConnectedClusterResolver):
        return resolver.group
    return workers.WorkerGroup()


def check_batch_size(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Checks that the devices can share a batch evenly.

    Raises:
      InputError: they cannot.
    """
    devices = strategy.num_replicas_in_sync
    if batch_size % devices:
        raise InputError(
            f"--batch_size must be a multiple of the {devices} devices. Received: {batch_size}"
        )


def distribute_dataset(
    strategy: tf.distribute.Strategy, shards: tf.data.Dataset, batch_size: int
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Distributes batches over the devices in a reproducible order.

    Args:
      strategy: the devices.
      shards: this process' shards of endless batches.
      batch_size: images per batch, over all processes.
    """
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


def broadcast_variables(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Assigns the chief's values to every process; all processes must call it."""
    group = worker_group(strategy)
    if group.size == 1:
        return
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
