"""`--strategy` values → tf.distribute strategies."""

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
    """The strategy of that name over the devices TensorFlow sees.

    Args:
      name: "one" for one device; "mirrored" for every accelerator, or, where there is none, every
        logical CPU device; "auto" for "mirrored" where there is more than one accelerator;
        "multi_worker" for every accelerator, or the CPU, of every worker that `TF_CONFIG` names:
        before TensorFlow does anything else in the process.
      facts: JSON values that every worker must have been given alike.

    Raises:
      InputError: there is no such strategy, or the workers do not come together.
    """
    if name == "multi_worker":
        return _multi_worker(facts or {})
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
    raise InputError(f"strategy must be one of {', '.join(STRATEGIES)}. Received: {name!r}")


class _Met(tf.distribute.cluster_resolver.TFConfigClusterResolver):
    """The cluster of `TF_CONFIG`, and the workers that met by it."""

    def __init__(self, team: workers.WorkerGroup):
        super().__init__()
        self.team = team


def _multi_worker(facts: Mapping[str, Any]) -> tf.distribute.Strategy:
    place = workers.read_tf_config(os.environ.get("TF_CONFIG"))
    team = workers.connect_workers(place, facts)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(_Met(team))
    except (tf.errors.OpError, RuntimeError) as error:
        with team:
            raise InputError(f"TensorFlow's workers do not start: {first_line(error)}") from error


def worker_group(strategy: tf.distribute.Strategy) -> workers.WorkerGroup:
    """The processes that share a strategy: for most, this one alone."""
    resolver = strategy.cluster_resolver
    return resolver.team if isinstance(resolver, _Met) else workers.WorkerGroup()


def check_batch_size(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Raises InputError unless the strategy's devices can share a batch of that size evenly."""
    if batch_size % strategy.num_replicas_in_sync:
        raise InputError(
            f"batch_size must be a multiple of the {strategy.num_replicas_in_sync} devices. "
            f"Received: {batch_size}"
        )


def distribute_dataset(
    strategy: tf.distribute.Strategy, part: tf.data.Dataset, batch_size: int
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Shares batches among the devices, each in the order of the data set.

    Args:
      strategy: the devices.
      part: endless batches, of which a process has its own part of the whole.
      batch_size: images a batch, over all processes.
    """
    if strategy.num_replicas_in_sync == 1 and not tf.config.list_logical_devices("GPU"):
        return part  # there is nobody to share with, and nothing to bring to a device ahead of time
    if worker_group(strategy).of == 1:
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return strategy.experimental_distribute_dataset(part.with_options(options))
    each = batch_size // strategy.num_replicas_in_sync
    # Endless, and known to be: else the workers would ask each other for every batch who has one.
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    own = part.rebatch(each, drop_remainder=True).apply(endless)
    return strategy.distribute_datasets_from_function(lambda context: own)


def broadcast_variables(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Gives every process the chief's values; all must call it."""
    together = worker_group(strategy)
    if together.of == 1:
        return
    weights = [variable for variable in variables if variable.dtype.is_floating]

    def replica_values() -> list[tf.Tensor]:
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group == 0
        own = [tf.where(first, weight, tf.zeros_like(weight)) for weight in weights]
        return context.all_reduce("sum", own)  # exactly the first's: all others are 0

    shared = tf.function(lambda: strategy.run(replica_values))()
    for weight, value in zip(weights, shared, strict=True):
        weight.assign(strategy.experimental_local_results(value)[0])
    counters = [variable for variable in variables if not variable.dtype.is_floating]
    values = together.from_chief(lambda: [counter.numpy().tolist() for counter in counters])
    for counter, value in zip(counters, values, strict=True):
        counter.assign(value)
