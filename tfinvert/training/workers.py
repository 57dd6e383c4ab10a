"""Coordinates the processes of a multi-worker run.

TensorFlow's collectives carry the gradients, but they wait forever for a worker that never starts,
and their errors do not say which worker has died. Therefore every worker also keeps a TCP
connection to the first one, the chief, at the chief's own address: the listening socket is closed
before TensorFlow's server binds the port.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfinvert.errors import InputError, Interrupted, first_line

EXIT_WORKER_LOST = 75  # exit status of the remaining workers: EX_TEMPFAIL, "try again later"
_MAX_MESSAGE_BYTES = 1 << 20
_REPORT_INTERVAL = 30.0  # seconds between lines about missing workers
_FORMAT = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Timeouts:
    """Time limits, in seconds.

    Attributes:
      connect: for all workers to start.
      heartbeat: silence after which a worker counts as lost.
      grace: for a process to exit with its own error after another worker has failed.
    """

    connect: float = 600.0
    heartbeat: float = 30.0
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
    """Several connected processes, as `connect_workers` returns them.

    Args:
      task: the task of this process.
      connections: open connections by task index: the chief's to all others, any other worker's to
        the chief.
      timeouts: time limits.
      on_failure: called with an error line and an exit status when another worker has failed; by
        default it prints the line and ends the process.
    """

    def __init__(
        self,
        task: TaskSpec,
        connections: Mapping[int, _Connection],
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
        on_failure: Callable[[str, int], None] | None = None,
    ):
        self._task, self._connections, self._timeouts = task, connections, timeouts
        self._on_failure = on_failure or _end_process
        self.index, self.size = task.index, len(task.tasks)
        self._inbox: dict[int, queue.SimpleQueue[Any]] = {
            index: queue.SimpleQueue() for index in connections
        }
        self._leaving = threading.Event()  # set when failures of others no longer matter
        self._failed = threading.Lock()  # held from the first failure on
        for index in connections:
            threading.Thread(target=self._receive_all, args=(index,), daemon=True).start()
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def name(self, index: int) -> str:
        """Returns a worker's name and address, for messages."""
        return self._task.name(index)

    def all_gather(self, value: Any) -> list[Any]:
        """Returns the JSON values that all workers passed, in their order; blocks until then."""
        if not self.is_chief:
            self._send({"value": value})
            return self._inbox[0].get()
        values = [value, *(self._inbox[index].get() for index in sorted(self._connections))]
        self._send({"value": values})
        return values

    def should_stop(self, requested: bool) -> bool:
        """Returns whether any worker requested to stop; if so, each must then exit by itself."""
        stop = super().should_stop(requested)
        if stop:
            self._leave()
        return stop

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._leaving.is_set():
            return
        if error is None:
            self.all_gather(None)
            self._leave()
            return
        if not isinstance(
            error, InputError | Interrupted | OSError | KeyboardInterrupt | SystemExit
        ):
            # Possibly a consequence, such as a collective that lost a worker: the message of the
            # worker that failed first should arrive before this one.
            self._leaving.wait(self._timeouts.grace)
        line = "interrupted" if isinstance(error, KeyboardInterrupt) else first_line(error)
        if isinstance(error, SystemExit):
            line = f"ended with status {error.code}"
        status = 2 if isinstance(error, InputError | OSError) else EXIT_WORKER_LOST
        self._leaving.set()
        self._send({"error": f"{self.name(self.index)}: {line}", "status": status})

    def _leave(self) -> None:
        self._leaving.set()
        self._send({"leaving": True})

    def _send(self, message: Mapping[str, Any], exclude: int | None = None) -> None:
        for index, connection in self._connections.items():
            if index != exclude:
                with contextlib.suppress(OSError):  # `_receive_all` notices a closed connection
                    connection.send(message)

    def _receive_all(self, index: int) -> None:
        """Handles one worker's messages until it leaves or fails."""
        with contextlib.closing(self._connections[index]) as connection:
            connection.set_timeout(self._timeouts.heartbeat)
            while True:
                try:
                    message = connection.receive()
                except TimeoutError:
                    seconds = self._timeouts.heartbeat
                    return self._lost(index, f"has sent no heartbeat for {seconds:.0f} s")
                except (OSError, ValueError):
                    return self._lost(index, "has disconnected")
                if "value" in message:
                    self._inbox[index].put(message["value"])
                elif "error" in message:
                    # This process may fail for the same reason, with a better message of its own.
                    time.sleep(self._timeouts.grace)
                    return self._fail(message["error"], message["status"], index)
                elif "leaving" in message:
                    return None

    def _lost(self, index: int, problem: str) -> None:
        line = (
            f"{self.name(index)} {problem}; checkpoints saved so far are kept; run the same "
            "command on every worker to resume"
        )
        self._fail(line, EXIT_WORKER_LOST, index)

    def _fail(self, line: str, status: int, index: int) -> None:
        """Passes a worker's failure on to the other workers and ends this process."""
        if self._leaving.is_set() or not self._failed.acquire(blocking=False):
            return
        self._send({"error": line, "status": status}, exclude=index)
        self._on_failure(line, status)

    def _send_heartbeats(self) -> None:
        while not self._leaving.wait(self._timeouts.heartbeat / 6):
            self._send({"heartbeat": True})


class _Connection:
    """Exchanges JSON objects over a socket, one per line."""

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._reader = connection, connection.makefile("rb")
        self._lock = threading.Lock()

    def set_timeout(self, seconds: float) -> None:
        """Limits the time of each following `send` and `receive`."""
        self._socket.settimeout(seconds)

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends an object."""
        with self._lock:
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
    on_failure: Callable[[str, int], None] | None = None,
) -> ConnectedWorkerGroup:
    """Connects the workers and checks that they agree; blocks until all have started.

    Args:
      task: the task of this process, from `read_tf_config`.
      facts: JSON values that must be equal on all workers.
      timeouts: time limits.
      on_failure: see `ConnectedWorkerGroup`.

    Raises:
      InputError: clusters or facts differ, the port is in use, or a worker does not start in time.
    """
    hello = {"cluster": [list(each) for each in task.tasks], "index": task.index, "facts": facts}
    hello = json.loads(json.dumps(hello))  # tuples to lists, as in the others' messages
    deadline = time.monotonic() + timeouts.connect
    if task.index:
        with _listen(task):  # for the error: TensorFlow's does not name the port
            pass
        connections = {0: _connect_to_chief(task, hello, deadline, timeouts)}
    else:
        with _listen(task) as listener:
            connections = _accept_workers(listener, task, hello, deadline, timeouts)
    return ConnectedWorkerGroup(task, connections, timeouts, on_failure)


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
) -> dict[int, _Connection]:
    """Accepts the other workers' connections on the chief; returns them by task index."""
    connections: dict[int, _Connection] = {}
    accepted: list[_Connection] = []
    problem = None
    reporter = _WaitReporter()
    while len(connections) + 1 < len(task.tasks):
        missing = [task.name(i) for i in range(1, len(task.tasks)) if i not in connections]
        if time.monotonic() > deadline:
            problem = problem or (
                f"{', '.join(missing)} did not connect within {timeouts.connect:.0f} s; start all "
                "workers of TF_CONFIG"
            )
            break
        reporter.report(f"waiting for {', '.join(missing)}")
        found = _accept_one(listener, timeouts)
        if found is None:
            continue
        connection, hello = found
        accepted.append(connection)
        disagreement = _describe_disagreement(task, own, hello, connections)
        if disagreement and not problem:
            # Workers that connect shortly after receive the problem as well.
            problem = disagreement
            deadline = min(deadline, time.monotonic() + 2 * timeouts.grace)
        connections.setdefault(hello["index"], connection)
    for connection in accepted:
        with contextlib.suppress(OSError):
            connection.send({"problem": problem})
            if problem:
                connection.close()
    if problem:
        raise InputError(problem)
    return connections


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
    task: TaskSpec, own: dict[str, Any], hello: dict[str, Any], connections: Mapping[int, Any]
) -> str | None:
    """Describes how a worker's cluster, index or facts conflict with the chief's, if they do."""
    names = [f"{name} ({address})" for name, address in hello["cluster"]]
    if hello["cluster"] != own["cluster"]:
        chief = ", ".join(map(task.name, range(len(task.tasks))))
        return (
            f"TF_CONFIG must have the same cluster on every worker. Received: {', '.join(names)} "
            f"on {names[hello['index']]}, {chief} on the chief"
        )
    if hello["index"] in (0, *connections):
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
) -> _Connection:
    """Connects to the chief, retrying until the deadline."""
    host, _, port = task.tasks[0][1].rpartition(":")
    address = host.strip("[]"), int(port)
    reporter = _WaitReporter()
    while True:
        try:
            connection = _Connection(socket.create_connection(address, timeout=timeouts.grace))
            try:
                # Until all workers have connected, or the chief reports which are missing.
                connection.set_timeout(max(deadline - time.monotonic(), 0.0) + timeouts.grace)
                connection.send(hello)
                answer = connection.receive()
            except (OSError, ValueError):
                connection.close()
                raise
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
            connection.close()
            raise InputError(answer["problem"])
        return connection


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
    """Ends the process at once, as the main thread may wait in an uninterruptible collective."""
    sys.stderr.write(f"\nerror: {' '.join(line.split())}\n")
    sys.stderr.flush()
    os._exit(status)
