"""Several processes that train one network: in threads what they say, in processes what they do."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import tfinvert
from tfinvert.runs.training import TrainingRun, run_training
from tfinvert.training import workers
from tfinvert.training.settings import Settings
from tfinvert.training.train_inverter import Intervals
from tfinvert.training.workers import (
    EXIT_WORKER_LOST,
    TaskSpec,
    WorkerGroup,
    connect_workers,
    read_tf_config,
)

ROOT = pathlib.Path(__file__).parents[2]


def free_addresses(count):
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in found]


def tf_config(addresses, index, job="worker"):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": job, "index": index}})


def config(**changes):
    good = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    return json.dumps(good | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "takes TF_CONFIG, as .* Received: none"),
        ("", "takes TF_CONFIG"),
        ("{'cluster': 1}", "TF_CONFIG is no JSON: Expecting property name"),
        ("[]", r"must have cluster and task, as .* Received: \[\]"),
        (config(task=None), "must have cluster and task"),
        (config(cluster={}), "must have cluster and task"),
        (config(cluster={"ps": ["a:1"]}), "jobs chief and worker. Received: 'ps'"),
        (config(cluster={"worker": "a:1"}), "worker must be a list of host:port. Received: a:1"),
        (config(cluster={"worker": ["a"]}), r"a list of host:port. Received: \['a'\]"),
        (config(cluster={"worker": ["a:70000"]}), "a list of host:port"),
        (config(cluster={"chief": ["a:1", "b:1"]}), "may have one chief. Received: a:1, b:1"),
        (config(cluster={"worker": ["a:1", "a:1"]}), "has an address twice. Received: a:1"),
        (
            config(task={"type": "worker", "index": 2}),
            "names the task worker 2, and its cluster has worker 0, worker 1",
        ),
        (config(task={"type": "chief", "index": 0}), "names the task chief 0"),
        (config(task={"index": 0}), "names the task None 0"),
    ],
)
def test_a_wrong_tf_config_is_one_line(text, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        read_tf_config(text)
    assert "\n" not in str(error.value)


def test_the_chief_comes_first():
    cluster = {"worker": ["b:2", "c:3"], "chief": ["a:1"]}
    place = read_tf_config(config(cluster=cluster))
    assert place.tasks == (("chief 0", "a:1"), ("worker 0", "b:2"), ("worker 1", "c:3"))
    assert (place.index, place.name(2)) == (2, "worker 1 (c:3)")


def test_one_process_is_a_team_of_itself():
    with WorkerGroup() as team:
        assert team.chief and team.part == (0, 1)
        assert team.exchange(3) == [3]
        assert team.from_chief(lambda: 4) == 4
        assert team.stop(True) and not team.stop(False)
        team.agree({"steps": 1})


@pytest.fixture
def hasty(monkeypatch):
    """Less time to end by oneself, so that tests are fast."""
    monkeypatch.setattr(workers, "_GRACE", 0.5)


class Meeting:
    """Workers in threads; what a process would end with is kept instead."""

    def __init__(self, count):
        self.addresses = free_addresses(count)
        self.ends = [concurrent.futures.Future() for _ in range(count)]
        self.pool = concurrent.futures.ThreadPoolExecutor(count)

    def meet(self, places=None, facts=None, **options):
        places = places or [
            read_tf_config(tf_config(self.addresses, index)) for index in range(len(self.ends))
        ]
        facts = facts or [{"steps": 1}] * len(places)

        def one(order):
            def end(line, status):
                self.ends[order].set_result((line, status))

            return connect_workers(places[order], facts[order], end=end, **options)

        return [self.pool.submit(one, order) for order in range(len(places))]

    def all(self, teams, call):
        return [self.pool.submit(call, team) for team in teams]


def results(futures):
    return [future.result(timeout=20) for future in futures]


def lines(futures):
    return [str(future.exception(timeout=20)) for future in futures]


def test_workers_exchange_and_leave_together():
    meeting = Meeting(3)
    teams = results(meeting.meet())
    assert [team.part for team in teams] == [(0, 3), (1, 3), (2, 3)]
    for _ in range(3):
        said = results(meeting.all(teams, lambda team: team.exchange({"from": team.index})))
        assert said == [[{"from": 0}, {"from": 1}, {"from": 2}]] * 3
    assert results(meeting.all(teams, lambda t: t.from_chief(lambda: t.index))) == [0] * 3
    assert results(meeting.all(teams, lambda team: team.stop(False))) == [False] * 3
    slow = threading.Event()

    def leave(team):
        with team:
            if team.chief:
                slow.wait()
        return time.monotonic()

    left = meeting.all(teams, leave)
    time.sleep(0.5)
    assert not any(future.done() for future in left)  # the others wait for the chief
    begin = time.monotonic()
    slow.set()
    assert min(results(left)) >= begin
    time.sleep(0.2)
    assert not any(end.done() for end in meeting.ends)


def test_one_that_wants_to_stop_stops_all():
    meeting = Meeting(3)
    teams = results(meeting.meet())
    assert results(meeting.all(teams, lambda team: team.stop(team.index == 2))) == [True] * 3
    with contextlib.suppress(SystemExit), teams[1]:
        raise SystemExit(143)
    time.sleep(0.2)
    assert not any(end.done() for end in meeting.ends)


def test_flags_that_differ_are_said_by_everyone(hasty):
    meeting = Meeting(3)
    facts = [{"steps": 1, "seed": 0}, {"steps": 1, "seed": 0}, {"steps": 2}]
    said = lines(meeting.meet(facts=facts))
    name = f"worker 2 ({meeting.addresses[2]})"
    assert len({*said}) == 1
    assert f"different flags, data or libraries: {name} has seed=None (the chief 0)" in said[0]
    teams = results(meeting.meet())
    said = lines(meeting.all(teams, lambda team: team.agree({"images": 3 + team.index % 2})))
    assert {*said} == {
        "the workers were given different flags, data or libraries: "
        f"worker 1 ({meeting.addresses[1]}) has images=4 (the chief 3)"
    }


def test_a_cluster_that_differs_is_said_by_everyone(hasty):
    meeting = Meeting(2)
    longer = [*meeting.addresses, "127.0.0.1:1"]
    configs = tf_config(meeting.addresses, 0), tf_config(longer, 2)
    said = lines(meeting.meet([read_tf_config(each) for each in configs]))
    assert len({*said}) == 1
    assert "TF_CONFIG disagrees between workers: worker 2 (127.0.0.1:1) has the cluster" in said[0]


def test_a_task_that_two_have_is_said_by_everyone(hasty):
    meeting = Meeting(3)
    tasks = tuple((f"worker {i}", address) for i, address in enumerate(meeting.addresses))
    said = lines(meeting.meet([TaskSpec(tasks, 0), TaskSpec(tasks, 1), TaskSpec(tasks, 1)]))
    assert len({*said}) <= 2  # the second may find the port of the first taken
    assert any("TF_CONFIG disagrees between workers: two of them are worker 1" in x for x in said)


def test_one_that_does_not_come_is_named():
    meeting = Meeting(3)
    places = [read_tf_config(tf_config(meeting.addresses, index)) for index in (0, 2)]
    said = lines(meeting.meet(places, patience=2.0))
    assert said[0] == f"worker 1 ({meeting.addresses[1]}) did not come within 2 s"
    (alone,) = lines(meeting.meet(places[1:], patience=1.0))
    assert f"the chief, worker 0 ({meeting.addresses[0]}), did not answer within 1 s" in alone


def test_a_stranger_at_the_port_disturbs_nobody():
    meeting = Meeting(2)
    host, _, port = meeting.addresses[0].rpartition(":")
    places = [read_tf_config(tf_config(meeting.addresses, index)) for index in range(2)]
    chief = meeting.meet(places[:1])
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b""):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port))) as probe:
                probe.sendall(text)
                break
            time.sleep(0.05)
    # As the second, which `connect_workers` would make the first of a list.
    second = meeting.pool.submit(connect_workers, places[1], {"steps": 1}, 20.0)
    assert [team.index for team in results([*chief, second])] == [0, 1]


def test_a_port_that_is_taken_is_one_line():
    meeting = Meeting(2)
    host, _, port = meeting.addresses[0].rpartition(":")
    with socket.create_server(("", int(port))):
        (said,) = lines(meeting.meet(patience=1.0)[:1])
    assert said == f"worker 0 ({meeting.addresses[0]}) cannot listen at its port: " + os.strerror(
        98
    )


@pytest.mark.parametrize("lost", [0, 1])
def test_one_that_is_gone_ends_the_others(hasty, lost):
    meeting = Meeting(3)
    teams = results(meeting.meet())
    # As the kernel does for a process that is killed, which itself says nothing more.
    teams[lost]._leaving.set()
    for line in teams[lost]._lines.values():
        line._connection.shutdown(socket.SHUT_RDWR)
    for index in {0, 1, 2} - {lost}:
        said, status = meeting.ends[index].result(timeout=10)
        assert f"worker {lost} ({meeting.addresses[lost]}) is gone" in said
        assert status == EXIT_WORKER_LOST


def test_one_that_is_silent_ends_the_others(hasty):
    meeting = Meeting(3)
    teams = results(meeting.meet(silence=1.0))
    teams[2]._leaving.set()  # its sign of life stops
    begin = time.monotonic()
    for index in (0, 1):
        said, status = meeting.ends[index].result(timeout=10)
        assert f"worker 2 ({meeting.addresses[2]}) has been silent for 1 s" in said
        assert status == EXIT_WORKER_LOST
    assert 0.5 < time.monotonic() - begin < 8


def test_an_error_of_one_is_told_by_the_others(hasty):
    meeting = Meeting(3)
    teams = results(meeting.meet())
    with pytest.raises(tfinvert.InputError), teams[1]:
        raise tfinvert.InputError("no such image")
    for index in (0, 2):
        said, status = meeting.ends[index].result(timeout=20)
        assert (said, status) == (f"worker 1 ({meeting.addresses[1]}): no such image", 2)


# Whole processes from here.

RUN = {"feature": "hog", "data": "photos", "image_size": 32}
SETTINGS = {"batch_size": 12, "width": 0.125, "averaging": 0.9, "clip_norm": 0.02, "steps": 20}
SETTINGS |= {"network": "paper", "optimizer": "adam"}  # quick to trace


class Processes:
    """The recipe in several processes on this machine; each has a directory of its own to be in."""

    def __init__(self, place, count, **changes):
        self.place, self.count = place, count
        given = RUN | SETTINGS | {"checkpoint_every": 5, "log_every": 1} | changes
        self.flags = [f"--{name}={value}" for name, value in given.items()]
        for index in range(count):
            (place / str(index)).mkdir(parents=True)

    def start(self):
        addresses = free_addresses(self.count)
        return [
            subprocess.Popen(
                # A process of TensorFlow's that hangs cannot be ended otherwise.
                ["timeout", "-s", "KILL", "150", sys.executable]
                + [str(ROOT / "recipes" / "train_inverter.py"), *self.flags]
                + ["--strategy=multi_worker", "--workdir=run"],
                cwd=self.place / str(index),
                env=os.environ | {"TF_CONFIG": tf_config(addresses, index)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(self.count)
        ]

    @property
    def run(self):
        return self.place / "0" / "run"

    def steps(self):
        path = self.run / "history.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def kill(self, started, index, after, number):
        while self.steps() < after:
            assert started[index].poll() is None, started[index].communicate()
            time.sleep(0.02)
        (inner,) = pathlib.Path(f"/proc/{started[index].pid}/task").glob("*/children")
        os.kill(int(inner.read_text()), number)
        return time.monotonic()


def end(started):
    said = [process.communicate(timeout=160) for process in started]
    return [process.returncode for process in started], [err for _, err in said]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights of a single process."""
    run = tmp_path_factory.mktemp("alone") / "run"
    run_training(TrainingRun(**RUN), Settings(**SETTINGS), run, "one", Intervals(1, 1000, 1000))
    return tfinvert.load(run / "inverter").network.get_weights()


def assert_equals(processes, alone):
    """A whole run, written by the chief alone, with the weights of a single process."""
    inverter = tfinvert.load(processes.run / "inverter")
    assert inverter.card["workers"] == processes.count
    for ours, theirs in zip(inverter.network.get_weights(), alone, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    entries = (processes.run / "history.jsonl").read_text().splitlines()
    assert [json.loads(entry)["step"] for entry in entries] == [*range(1, SETTINGS["steps"] + 1)]
    for index in range(1, processes.count):
        assert not [*(processes.place / str(index)).iterdir()]


def test_three_train_what_one_does(tmp_path, alone):
    processes = Processes(tmp_path, 3)
    statuses, errors = end(processes.start())
    assert statuses == [0, 0, 0], errors
    assert_equals(processes, alone)


@pytest.mark.slow
def test_stopped_and_killed_two_go_on_and_train_what_one_does(tmp_path, alone):
    processes = Processes(tmp_path, 2)
    started = processes.start()
    processes.kill(started, 1, after=2, number=signal.SIGTERM)
    statuses, errors = end(started)
    assert statuses == [143, 143], errors
    said = [error.splitlines()[-1] for error in errors]
    step = processes.steps()
    assert (
        said == [f"stopped after step {step} of 20, which is saved; the same command goes on"] * 2
    )

    started = processes.start()
    begin = processes.kill(started, 0, after=step + 2, number=signal.SIGKILL)
    statuses, errors = end(started)
    assert time.monotonic() - begin < 30
    assert statuses[1] == EXIT_WORKER_LOST, errors
    last = errors[1].splitlines()[-1]
    assert last.startswith("error: worker 0 (127.0.0.1:") and "is gone" in last
    assert "Traceback" not in errors[1]
    assert step < processes.steps() < SETTINGS["steps"]
    assert not (processes.run / "inverter").exists()

    statuses, errors = end(processes.start())
    assert statuses == [0, 0], errors
    assert_equals(processes, alone)


def manifest():
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    return text.partition("```yaml\n")[2].partition("```")[0]


def test_the_script_of_the_kubernetes_example_composes_tf_config(tmp_path):
    script = textwrap.dedent(
        manifest().partition("        - |\n")[2].partition("        volumeM")[0]
    )
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nprintf %s "$TF_CONFIG"\n')
    fake.chmod(0o755)
    given = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "WORKERS": "3",
        "JOB_COMPLETION_INDEX": "2",
    }
    composed = subprocess.run(
        ["bash", "-euc", script], env=given, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    place = read_tf_config(composed)
    assert [address for _, address in place.tasks] == [f"hog-{i}.hog:2222" for i in range(3)]
    assert place.name(place.index) == "worker 2 (hog-2.hog:2222)"


def test_the_kubernetes_example_is_yaml():
    yaml = pytest.importorskip("yaml")
    service, job = yaml.safe_load_all(manifest())
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    (container,) = pod["containers"]
    assert int(container["env"][0]["value"]) == job["spec"]["completions"]
    assert {each["name"] for each in container["volumeMounts"]} == {
        x["name"] for x in pod["volumes"]
    }
    ignored = job["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"]
    assert ignored == [EXIT_WORKER_LOST, 143]
