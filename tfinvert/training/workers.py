"""The processes that train one network together: who they are, and word from one to the other.

TensorFlow's collectives carry the gradients; they wait for ever for a worker that never comes, and
say little of one that is gone. So every worker also keeps a TCP connection to the first, the chief,
on the chief's own address: the listener closes before TensorFlow's server takes the port.
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

CONNECT_TIMEOUT = 600.0  # seconds in which all workers must have started
HEARTBEAT_TIMEOUT = 30.0  # seconds without a sign of life after which a worker counts as gone
EXIT_WORKER_LOST = 75  # exit status of those that are left: EX_TEMPFAIL, "try again later"
_GRACE = 5.0  # seconds for a worker to end by itself where another one failed
_LONGEST = 1 << 20  # bytes of a message
_FORM = '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """One worker among all.

    Attributes:
      tasks: name and address of each, as ("worker 0", "10.0.0.1:2222"); the first is the chief.
      index: which of them this process is.
    """

    tasks: tuple[tuple[str, str], ...]
    index: int

    def name(self, index: int) -> str:
        """For people."""
        name, address = self.tasks[index]
        return f"{name} ({address})"


def read_tf_config(text: str | None) -> TaskSpec:
    """What `TF_CONFIG` says, as TensorFlow reads it; its tasks are chief and worker.

    Raises:
      InputError: it is missing, no JSON, or has no such task.
    """
    if not text:
        raise InputError(f"--strategy=multi_worker takes TF_CONFIG, as {_FORM}. Received: none")
    try:
        config = json.loads(text)
    except ValueError as error:
        raise InputError(f"TF_CONFIG is no JSON: {error}. It is to be as {_FORM}") from error
    config = config if isinstance(config, dict) else {}
    cluster, task = config.get("cluster"), config.get("task")
    if not isinstance(cluster, dict) or not isinstance(task, dict) or not cluster:
        raise InputError(f"TF_CONFIG must have cluster and task, as {_FORM}. Received: {text}")
    for job, addresses in cluster.items():
        if job not in ("chief", "worker"):
            raise InputError(f"TF_CONFIG may have the jobs chief and worker. Received: {job!r}")
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            raise InputError(f"TF_CONFIG: {job} must be a list of host:port. Received: {addresses}")
    jobs = {job: cluster.get(job, []) for job in ("chief", "worker")}
    if len(jobs["chief"]) > 1:
        raise InputError(f"TF_CONFIG may have one chief. Received: {', '.join(jobs['chief'])}")
    tasks = [(f"{job} {i}", address) for job in jobs for i, address in enumerate(jobs[job])]
    twice = {a for _, a in tasks if sum(a == other for _, other in tasks) > 1}
    if twice:
        raise InputError(f"TF_CONFIG has an address twice. Received: {', '.join(sorted(twice))}")
    own = f"{task.get('type')} {task.get('index')}"
    names = [name for name, _ in tasks]
    if own not in names:
        raise InputError(
            f"TF_CONFIG names the task {own}, and its cluster has {', '.join(names) or 'none'}"
        )
    return TaskSpec(tuple(tasks), names.index(own))


def _is_address(address: Any) -> bool:
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16


class WorkerGroup:
    """A process that trains alone, and what several have in common; used as a context.

    The block of a team ends when every worker's has, and where one fails all do.

    Attributes:
      index: of this process.
      of: how many there are.
    """

    index, of = 0, 1

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    @property
    def part(self) -> tuple[int, int]:
        """Which part of every batch is this process': (index, of)."""
        return self.index, self.of

    def exchange(self, value: Any) -> list[Any]:
        """What all workers gave to this call, a JSON value each, in their order; waits for them."""
        return [value]

    def from_chief(self, call: Callable[[], Any]) -> Any:
        """What the call gives, a JSON value, on the chief, which alone makes it."""
        return self.exchange(call() if self.chief else None)[0]

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Ends all workers where they were not given the same.

        Raises:
          InputError: they were not.
        """
        difference = _difference(self.exchange(dict(facts)), self.name)
        if difference:
            raise InputError(difference)

    def name(self, index: int) -> str:
        """Of a worker, for people."""
        return f"process {index}"

    def stop(self, wanted: bool) -> bool:
        """Whether any worker wants to stop now; if so, each then ends by itself, in its own time.

        All workers must ask after the same steps.
        """
        return any(self.exchange(wanted))

    def __enter__(self) -> WorkerGroup:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        pass


class ConnectedWorkerGroup(WorkerGroup):
    """Several processes, met: see `connect_workers`.

    Args:
      place: of this one.
      lines: open connections by index: of the chief to all others, of another to the chief.
      silence: seconds without a sign of life after which a worker counts as gone.
      end: what is done with a last line and an exit status when another worker failed.
    """

    def __init__(
        self,
        place: TaskSpec,
        lines: Mapping[int, _Line],
        silence: float = HEARTBEAT_TIMEOUT,
        end: Callable[[str, int], None] | None = None,
    ):
        self._place, self._lines, self._silence = place, lines, silence
        self._end = end or _end_process
        self.index, self.of = place.index, len(place.tasks)
        self._said: dict[int, queue.SimpleQueue[Any]] = {i: queue.SimpleQueue() for i in lines}
        self._leaving = threading.Event()  # this process ends: what others do matters no more
        self._failed = threading.Lock()  # taken by the first failure
        for index in lines:
            threading.Thread(target=self._listen, args=(index,), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def name(self, index: int) -> str:
        """See `Team.name`."""
        return self._place.name(index)

    def exchange(self, value: Any) -> list[Any]:
        """See `Team.exchange`."""
        if not self.chief:
            self._tell({"say": value})
            return self._said[0].get()
        values = [value, *(self._said[index].get() for index in sorted(self._lines))]
        self._tell({"say": values})
        return values

    def stop(self, wanted: bool) -> bool:
        """See `Team.stop`."""
        stops = super().stop(wanted)
        if stops:
            self._leave()
        return stops

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._leaving.is_set():
            return
        if error is None:
            self.exchange(None)
            self._leave()
            return
        if not isinstance(
            error, InputError | Interrupted | OSError | KeyboardInterrupt | SystemExit
        ):
            # Such as TensorFlow's, of a collective without a worker: then its own line comes first.
            self._leaving.wait(_GRACE)
        line = "interrupted" if isinstance(error, KeyboardInterrupt) else first_line(error)
        if isinstance(error, SystemExit):
            line = f"ended with status {error.code}"
        status = 2 if isinstance(error, InputError | OSError) else EXIT_WORKER_LOST
        self._leaving.set()
        self._tell({"failed": f"{self.name(self.index)}: {line}", "status": status})

    def _leave(self) -> None:
        self._leaving.set()
        self._tell({"bye": True})

    def _tell(self, message: Mapping[str, Any], but: int | None = None) -> None:
        for index, line in self._lines.items():
            if index != but:
                with contextlib.suppress(OSError):  # who listens no more is found by `_listen`
                    line.send(message)

    def _listen(self, index: int) -> None:
        with contextlib.closing(self._lines[index]) as line:
            self._hear(index, line)

    def _hear(self, index: int, line: _Line) -> None:
        line.wait_at_most(self._silence)
        while True:
            try:
                message = line.receive()
            except TimeoutError:
                return self._lost(index, f"has been silent for {self._silence:.0f} s")
            except (OSError, ValueError):
                return self._lost(index, "is gone")
            if "say" in message:
                self._said[index].put(message["say"])
            elif "failed" in message:
                # It may well end in the same way here, and says so better.
                time.sleep(_GRACE)
                return self._fail(message["failed"], message["status"], index)
            elif "bye" in message:
                return None

    def _lost(self, index: int, how: str) -> None:
        line = (
            f"{self.name(index)} {how}; what the chief has saved stays; the same command "
            "on every worker goes on from it"
        )
        self._fail(line, EXIT_WORKER_LOST, index)

    def _fail(self, line: str, status: int, index: int) -> None:
        if self._leaving.is_set() or not self._failed.acquire(blocking=False):
            return
        self._tell({"failed": line, "status": status}, but=index)
        self._end(line, status)

    def _beat(self) -> None:
        while not self._leaving.wait(self._silence / 6):
            self._tell({"beat": True})


class _Line:
    """JSON values over a connection, one a line."""

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._reader = connection, connection.makefile("rb")
        self._lock = threading.Lock()

    def wait_at_most(self, seconds: float) -> None:
        """From now on, for what is received or sent."""
        self._connection.settimeout(seconds)

    def send(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next message; OSError or ValueError where there is none."""
        text = self._reader.readline(_LONGEST)
        if not text.endswith(b"\n"):
            raise ConnectionError("closed")
        message = json.loads(text)
        if not isinstance(message, dict):
            raise ValueError("no message")
        return message

    def close(self) -> None:
        self._reader.close()
        self._connection.close()


def connect_workers(
    place: TaskSpec,
    facts: Mapping[str, Any],
    patience: float = CONNECT_TIMEOUT,
    silence: float = HEARTBEAT_TIMEOUT,
    end: Callable[[str, int], None] | None = None,
) -> ConnectedWorkerGroup:
    """Waits until all workers are there and says what they disagree on.

    Args:
      place: this worker's, from `read_tf_config`.
      facts: JSON values that must be the same for all.
      patience: seconds to wait at most.
      silence: see `ConnectedWorkerGroup`.
      end: likewise.

    Raises:
      InputError: their TF_CONFIG or their facts differ, the port is taken, or one does not come.
    """
    own = {"cluster": [list(task) for task in place.tasks], "index": place.index, "facts": facts}
    own = json.loads(json.dumps(own))  # as they arrive
    deadline = time.monotonic() + patience
    if place.index:
        with _listener(place):  # TensorFlow says less of a port that is taken
            pass
        lines = {0: _call(place, own, deadline, patience)}
    else:
        with _listener(place) as listener:
            lines = _receive(listener, place, own, deadline, patience)
    return ConnectedWorkerGroup(place, lines, silence, end)


def _listener(place: TaskSpec) -> socket.socket:
    address = place.tasks[place.index][1]
    try:
        return socket.create_server(("", int(address.rpartition(":")[2])))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise InputError(
            f"{place.name(place.index)} cannot listen at its port: {reason}"
        ) from error


def _receive(
    listener: socket.socket, place: TaskSpec, own: dict[str, Any], deadline: float, patience: float
) -> dict[int, _Line]:
    """The chief's part of meeting: the connections by index."""
    lines: dict[int, _Line] = {}
    told: list[_Line] = []
    problem = None
    asked = time.monotonic()
    while len(lines) + 1 < len(place.tasks):
        missing = [place.name(i) for i in range(1, len(place.tasks)) if i not in lines]
        if time.monotonic() > deadline:
            problem = problem or f"{', '.join(missing)} did not come within {patience:.0f} s"
            break
        asked = _waiting(asked, f"waiting for {', '.join(missing)}")
        found = _greet(listener)
        if found is None:
            continue
        line, hello = found
        told.append(line)
        differs = _disagreement(place, own, hello, lines)
        if differs and not problem:
            # Those who are still to come are told as well.
            problem, deadline = differs, min(deadline, time.monotonic() + 2 * _GRACE)
        lines.setdefault(hello["index"], line)
    for line in told:
        with contextlib.suppress(OSError):
            line.send({"problem": problem})
            if problem:
                line.close()
    if problem:
        raise InputError(problem)
    return lines


def _greet(listener: socket.socket) -> tuple[_Line, dict[str, Any]] | None:
    """A worker that calls within a second, and what it says; None for nobody, or a stranger."""
    listener.settimeout(1.0)
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return None
    line = _Line(connection)
    try:
        line.wait_at_most(_GRACE)
        hello = line.receive()
        if hello.keys() == {"cluster", "index", "facts"}:
            return line, hello
    except (OSError, ValueError):
        pass
    line.close()
    return None


def _disagreement(
    place: TaskSpec, own: dict[str, Any], hello: dict[str, Any], lines: Mapping[int, _Line]
) -> str | None:
    names = [f"{name} ({address})" for name, address in hello["cluster"]]
    if hello["cluster"] != own["cluster"]:
        ours = ", ".join(map(place.name, range(len(place.tasks))))
        return (
            f"TF_CONFIG disagrees between workers: {names[hello['index']]} has the cluster "
            f"{', '.join(names)}, the chief {ours}"
        )
    if hello["index"] in (0, *lines):
        return f"TF_CONFIG disagrees between workers: two of them are {names[hello['index']]}"
    return _difference([own["facts"], hello["facts"]], lambda index: names[hello["index"]])


def _difference(all_facts: list[dict[str, Any]], name: Callable[[int], str]) -> str | None:
    """What some worker was given that the chief was not; None if they agree."""
    chief = all_facts[0]
    for index, facts in enumerate(all_facts):
        changed = [
            f"{key}={facts.get(key)} (the chief {chief.get(key)})"
            for key in sorted(chief.keys() | facts.keys())
            if facts.get(key) != chief.get(key)
        ]
        if changed:
            return (
                f"the workers were given different flags, data or libraries: {name(index)} has "
                f"{', '.join(changed)}"
            )
    return None


def _call(place: TaskSpec, own: dict[str, Any], deadline: float, patience: float) -> _Line:
    """The part of the others in meeting: the connection to the chief."""
    host, _, port = place.tasks[0][1].rpartition(":")
    asked = time.monotonic()
    while True:
        try:
            line = _Line(socket.create_connection((host.strip("[]"), int(port)), timeout=_GRACE))
            try:
                line.wait_at_most(max(deadline - time.monotonic(), 0.0) + _GRACE)  # it says why
                line.send(own)
                answer = line.receive()
            except (OSError, ValueError):
                line.close()
                raise
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise InputError(
                    f"the chief, {place.name(0)}, did not answer within {patience:.0f} s: "
                    f"{first_line(error)}; is TF_CONFIG the same on every worker?"
                ) from error
            asked = _waiting(asked, f"waiting for the chief, {place.name(0)}")
            time.sleep(0.5)
            continue
        if answer.get("problem"):
            line.close()
            raise InputError(answer["problem"])
        return line


def _waiting(asked: float, line: str) -> float:
    """Says every half minute what is waited for."""
    if time.monotonic() - asked < 30:
        return asked
    print(line, file=sys.stderr, flush=True)
    return time.monotonic()


def _end_process(line: str, status: int) -> None:
    """At once: the main thread may wait in a collective that no signal interrupts."""
    sys.stderr.write(f"\nerror: {' '.join(line.split())}\n")
    sys.stderr.flush()
    os._exit(status)
