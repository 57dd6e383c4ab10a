"""Coordinates the processes of a multi-worker run.

TensorFlow's collective operations carry gradients and messages, and end when a worker has died or
is silent. But TensorFlow waits without a message for a worker that does not start, reports
different clusters only as an internal error, and compares no flags. Therefore the workers first
meet at the address of the first one, the chief, over TCP connections that are closed before
TensorFlow's server binds the port.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinvert.errors import InputError, Interrupted, first_line

if TYPE_CHECKING:
    import tensorflow as tf

EXIT_WORKER_LOST = 75  # exit status of the remaining workers: EX_TEMPFAIL, "try again later"
_MAX_MESSAGE_BYTES = 1 << 20
_REPORT_INTERVAL = 30.0  # seconds between lines about missing workers
_FORMAT = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'
_TASK = re.compile(r"/job:(\w+)/(?:replica:\d+/)?task:(\d+)")


@dataclasses.dataclass(frozen=True)
class Timeouts:
    """Time limits, in seconds.

    Attributes:
      connect: for all workers to start.
      grace: for an answer, and for a process to report an error that it shares with others.
    """

    connect: float = 600.0
    grace: float = 5.0


DEFAULT_TIMEOUTS = Timeouts()


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """The cluster's tasks, and the one of this process.

    Attributes:
      tasks: (name, address) of each task, such as ("worker 0", "10.0.0.1:2222"), the chief first.
      index: position of this process in `tasks`.
    """

    tasks: tuple[tuple[str, str], ...]
    index: int

    def name(self, index: int) -> str:
        """Returns a task's name and address, for messages."""
        name, address = self.tasks[index]
        return f"{name} ({address})"


def read_tf_config(text: str | None) -> TaskSpec:
    """Parses `TF_CONFIG`, whose jobs may be "chief" and "worker".

    Raises:
      InputError: it is missing, is not valid JSON, or lacks this process' task.
    """
    if not text:
        raise InputError(
            "--strategy=multi_worker requires the environment variable TF_CONFIG; set it to "
            f"{_FORMAT}. Received: none"
        )
    received = f"Received: {' '.join(text.split())}"
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"TF_CONFIG is not valid JSON: {error}; set it to {_FORMAT}. {received}"
        ) from error
    config = config if isinstance(config, dict) else {}
    cluster, task = config.get("cluster"), config.get("task")
    if not isinstance(cluster, dict) or not isinstance(task, dict) or not cluster:
        raise InputError(
            f"TF_CONFIG requires the keys cluster and task; set it to {_FORMAT}. {received}"
        )
    for job, addresses in cluster.items():
        if job not in ("chief", "worker"):
            raise InputError(f"TF_CONFIG supports the jobs chief and worker. Received: {job!r}")
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            raise InputError(
                f"TF_CONFIG: the job {job} must be a list of host:port. Received: {addresses}"
            )
    jobs = {job: cluster.get(job, []) for job in ("chief", "worker")}
    if len(jobs["chief"]) > 1:
        raise InputError(f"TF_CONFIG allows one chief. Received: {', '.join(jobs['chief'])}")
    tasks = [(f"{job} {i}", address) for job in jobs for i, address in enumerate(jobs[job])]
    addresses = [address for _, address in tasks]
    repeated = {address for address in addresses if addresses.count(address) > 1}
    if repeated:
        raise InputError(
            f"TF_CONFIG has a repeated address. Received: {', '.join(sorted(repeated))}"
        )
    own = f"{task.get('type')} {task.get('index')}"
    names = [name for name, _ in tasks]
    if own not in names:
        raise InputError(
            f"TF_CONFIG's task must be one of its cluster's: {', '.join(names) or 'none'}. "
            f"Received: {own}"
        )
    return TaskSpec(tuple(tasks), names.index(own))


def _is_address(address: Any) -> bool:
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16


class WorkerGroup:
    """The processes that share a run; this base class is a group of one.

    As a context manager, a group's block ends once the blocks of all workers have ended; if one
    fails, all do.

    Attributes:
      index: position of this process.
      size: number of processes.
    """

    index, size = 0, 1

    @property
    def is_chief(self) -> bool:
        """True if this process validates and writes files."""
        return self.index == 0

    @property
    def shard(self) -> tuple[int, int]:
        """(index, size): which equal part of each batch belongs to this process."""
        return self.index, self.size

    def all_gather(self, value: Any) -> list[Any]:
        """Returns the JSON values that all workers passed, in their order; blocks until then."""
        return [value]

    def broadcast(self, compute: Callable[[], Any]) -> Any:
        """Calls `compute` on the chief and returns its JSON value on all workers."""
        return self.all_gather(compute() if self.is_chief else None)[0]

    def check_agreement(self, facts: Mapping[str, Any]) -> None:
        """Ends all workers unless they passed equal JSON values.

        Raises:
          InputError: a worker's values differ from the chief's.
        """
        difference = _describe_difference(self.all_gather(dict(facts)), self.name)
        if difference:
            raise InputError(difference)

    def name(self, index: int) -> str:
        """Returns a worker's name, for messages."""
        return f"process {index}"

    def should_stop(self, requested: bool) -> bool:
        """Returns whether any worker requested to stop; if so, each must then exit by itself.

        All workers must call this after the same steps.
        """
        return any(self.all_gather(requested))

    def __enter__(self) -> WorkerGroup:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        pass


class ConnectedWorkerGroup(WorkerGroup):
    """Several processes that TensorFlow connects; call `start` when it has done so.

    Args:
      task: the task of this process.
    """

    def __init__(self, task: TaskSpec):
        self._task, self._stopped = task, False
        self.index, self.size = task.index, len(task.tasks)

    def start(self, strategy: tf.distribute.Strategy) -> None:
        """Uses the collective operations of a strategy from now on."""
        import tensorflow as tf

        context = tf.distribute.get_replica_context

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
        def gather(text: tf.Tensor) -> tf.Tensor:
            # A copy, which has the replica's device.
            return strategy.run(lambda: context().all_gather(tf.identity(text), axis=0))

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
        def add(number: tf.Tensor) -> tf.Tensor:
            return strategy.run(lambda: context().all_reduce("sum", tf.identity(number)))

        self._strategy, self._gather, self._add = strategy, gather, add

    def name(self, index: int) -> str:
        """Returns a worker's name and address, for messages."""
        return self._task.name(index)

    def all_gather(self, value: Any) -> list[Any]:
        """Returns the JSON values that all workers passed, in their order; blocks until then."""
        line = json.dumps(value).encode() + b"\n"
        # Collective operations support no bytes.
        text = self._call(self._gather, np.frombuffer(line, np.uint8).astype(np.int32))
        lines = text.astype(np.uint8).tobytes().splitlines()
        return [json.loads(line) for line in lines[:: len(lines) // self.size]]

    def should_stop(self, requested: bool) -> bool:
        """Returns whether any worker requested to stop; if so, each must then exit by itself."""
        # One operation, without JSON, as this is called at every step.
        self._stopped = bool(self._call(self._add, np.float32(requested)) > 0)
        return self._stopped

    def _call(self, operation: Callable[..., Any], value: np.ndarray) -> np.ndarray:
        return self._strategy.experimental_local_results(operation(value))[0].numpy()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None or (self._stopped and isinstance(error, Interrupted)):
                self.all_gather(None)  # the chief may still be saving
        except Exception as failure:
            if self.is_chief or error is not None:
                return  # its work is complete
            error = failure
        problem = self._describe_loss(error)
        if problem:
            _end_process(problem, EXIT_WORKER_LOST)

    def _describe_loss(self, error: BaseException | None) -> str | None:
        """Describes the loss of a worker if it is the cause of an error."""
        while error is not None and not _is_loss(error):
            error = error.__cause__ or error.__context__
        if error is None:
            return None
        names = {f"{job} {index}" for job, index in _TASK.findall(str(error))}
        lost = [
            self.name(index)
            for index, (name, _) in enumerate(self._task.tasks)
            if name in names and index != self.index
        ]
        return (
            f"{', '.join(lost) or 'a worker'} has disconnected; checkpoints saved so far are kept; "
            "run the same command on every worker to resume"
        )


def _is_loss(error: BaseException) -> bool:
    """Returns whether a collective operation failed because a worker was lost."""
    import tensorflow as tf

    signs = "Collective ops is aborted", "remote target /job:"
    return isinstance(error, tf.errors.OpError) and any(sign in str(error) for sign in signs)


class _Connection:
    """Exchanges JSON objects over a socket, one per line."""

    def __init__(self, connection: socket.socket):
        self._socket, self._reader = connection, connection.makefile("rb")

    def set_timeout(self, seconds: float) -> None:
        """Limits the time of each following `send` and `receive`."""
        self._socket.settimeout(seconds)

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends an object."""
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """Returns the next object.

        Raises:
          OSError: the connection is closed or timed out.
          ValueError: the line is not a JSON object.
        """
        text = self._reader.readline(_MAX_MESSAGE_BYTES)
        if not text.endswith(b"\n"):
            raise ConnectionError("closed")
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("not a JSON object")
        return message

    def close(self) -> None:
        """Closes the socket."""
        self._reader.close()
        self._socket.close()


def connect_workers(
    task: TaskSpec,
    facts: Mapping[str, Any],
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
) -> ConnectedWorkerGroup:
    """Waits until all workers have started, and checks that they agree.

    Args:
      task: the task of this process, from `read_tf_config`.
      facts: JSON values that must be equal on all workers.
      timeouts: time limits.

    Raises:
      InputError: clusters or facts differ, the port is in use, or a worker does not start in time.
    """
    hello = {"cluster": [list(each) for each in task.tasks], "index": task.index, "facts": facts}
    hello = json.loads(json.dumps(hello))  # tuples to lists, as in the others' messages
    deadline = time.monotonic() + timeouts.connect
    if task.index:
        with _listen(task):  # for the error: TensorFlow's does not name the port
            pass
        _connect_to_chief(task, hello, deadline, timeouts)
    else:
        with _listen(task) as listener:
            _accept_workers(listener, task, hello, deadline, timeouts)
    return ConnectedWorkerGroup(task)


def _listen(task: TaskSpec) -> socket.socket:
    address = task.tasks[task.index][1]
    try:
        return socket.create_server(("", int(address.rpartition(":")[2])))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise InputError(
            f"{task.name(task.index)} cannot listen on its port: {reason}; change TF_CONFIG or "
            "free the port"
        ) from error


def _accept_workers(
    listener: socket.socket,
    task: TaskSpec,
    own: dict[str, Any],
    deadline: float,
    timeouts: Timeouts,
) -> None:
    """Waits on the chief for the other workers, and answers them."""
    found: set[int] = set()
    accepted: list[_Connection] = []
    problem = None
    reporter = _WaitReporter()
    while len(found) + 1 < len(task.tasks):
        missing = [task.name(i) for i in range(1, len(task.tasks)) if i not in found]
        if time.monotonic() > deadline:
            problem = problem or (
                f"{', '.join(missing)} did not connect within {timeouts.connect:.0f} s; start all "
                "workers of TF_CONFIG"
            )
            break
        reporter.report(f"waiting for {', '.join(missing)}")
        answer = _accept_one(listener, timeouts)
        if answer is None:
            continue
        connection, hello = answer
        accepted.append(connection)
        disagreement = _describe_disagreement(task, own, hello, found)
        if disagreement and not problem:
            # Workers that connect shortly after receive the problem as well.
            problem = disagreement
            deadline = min(deadline, time.monotonic() + 2 * timeouts.grace)
        found.add(hello["index"])
    for connection in accepted:
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.send({"problem": problem})
    if problem:
        raise InputError(problem)


def _accept_one(
    listener: socket.socket, timeouts: Timeouts
) -> tuple[_Connection, dict[str, Any]] | None:
    """Waits a second for a worker; returns None if none, or some other client, connects."""
    listener.settimeout(1.0)
    try:
        accepted, _ = listener.accept()
    except TimeoutError:
        return None
    connection = _Connection(accepted)
    try:
        connection.set_timeout(timeouts.grace)
        hello = connection.receive()
        if hello.keys() == {"cluster", "index", "facts"}:
            return connection, hello
    except (OSError, ValueError):
        pass
    connection.close()
    return None


def _describe_disagreement(
    task: TaskSpec, own: dict[str, Any], hello: dict[str, Any], found: Container[int]
) -> str | None:
    """Describes how a worker's cluster, index or facts conflict with the chief's, if they do."""
    names = [f"{name} ({address})" for name, address in hello["cluster"]]
    if hello["cluster"] != own["cluster"]:
        chief = ", ".join(map(task.name, range(len(task.tasks))))
        return (
            f"TF_CONFIG must have the same cluster on every worker. Received: {', '.join(names)} "
            f"on {names[hello['index']]}, {chief} on the chief"
        )
    if hello["index"] == 0 or hello["index"] in found:
        name = names[hello["index"]]
        return f"TF_CONFIG must have another task on every worker. Received: {name} twice"
    return _describe_difference([own["facts"], hello["facts"]], lambda index: names[hello["index"]])


def _describe_difference(all_facts: list[dict[str, Any]], name: Callable[[int], str]) -> str | None:
    """Describes the first worker whose facts differ from the chief's; None if they all agree."""
    chief = all_facts[0]
    for index, facts in enumerate(all_facts):
        changed = [
            f"{key}={facts.get(key)} (chief: {chief.get(key)})"
            for key in sorted(chief.keys() | facts.keys())
            if facts.get(key) != chief.get(key)
        ]
        if changed:
            return (
                "all workers must have the same flags, data and library versions. Received on "
                f"{name(index)}: {', '.join(changed)}"
            )
    return None


def _connect_to_chief(
    task: TaskSpec, hello: dict[str, Any], deadline: float, timeouts: Timeouts
) -> None:
    """Waits for the chief's answer, retrying until the deadline."""
    host, _, port = task.tasks[0][1].rpartition(":")
    address = host.strip("[]"), int(port)
    reporter = _WaitReporter()
    while True:
        try:
            connection = _Connection(socket.create_connection(address, timeout=timeouts.grace))
            with contextlib.closing(connection):
                # Until all workers have connected, or the chief reports which are missing.
                connection.set_timeout(max(deadline - time.monotonic(), 0.0) + timeouts.grace)
                connection.send(hello)
                answer = connection.receive()
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"the chief, {task.name(0)}, did not answer within {timeouts.connect:.0f} s: "
                    f"{first_line(error)}; check that TF_CONFIG is the same on every worker"
                ) from error
            reporter.report(f"waiting for the chief, {task.name(0)}")
            time.sleep(0.5)
            continue
        if answer.get("problem"):
            raise InputError(answer["problem"])
        return


class _WaitReporter:
    """Prints to standard error, every half minute, which workers are missing."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def report(self, line: str) -> None:
        """Prints the line if half a minute has passed since the last one."""
        if time.monotonic() - self._last >= _REPORT_INTERVAL:
            print(line, file=sys.stderr, flush=True)
            self._last = time.monotonic()


def _end_process(line: str, status: int) -> None:
    """Ends the process at once: TensorFlow's threads may still wait for the lost worker."""
    sys.stderr.write(f"\nerror: {' '.join(line.split())}\n")
    sys.stderr.flush()
    os._exit(status)
