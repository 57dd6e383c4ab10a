"""Multi-worker training: the coordination of workers in threads, and training in processes."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import textwrap
import time

import numpy as np
import pytest
from PIL import Image

import tfinvert
from tests.programs import Program
from tfinvert.config.stored_pairs import PairsConfig
from tfinvert.runs.training import TrainingRun, run_training
from tfinvert.training.settings import Intervals, Settings
from tfinvert.training.workers import (
    EXIT_WORKER_LOST,
    TaskSpec,
    Timeouts,
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
        (None, "requires the environment variable TF_CONFIG; set it to .* Received: none"),
        ("", "requires the environment variable TF_CONFIG"),
        ("{'cluster': 1}", "TF_CONFIG is not valid JSON: Expecting property name"),
        ("[]", r"requires the keys cluster and task; set it to .* Received: \[\]"),
        (config(task=None), "requires the keys cluster and task"),
        (config(cluster={}), "requires the keys cluster and task"),
        (config(cluster={"ps": ["a:1"]}), "jobs chief and worker. Received: 'ps'"),
        (config(cluster={"worker": "a:1"}), "worker must be a list of host:port. Received: a:1"),
        (config(cluster={"worker": ["a"]}), r"a list of host:port. Received: \['a'\]"),
        (config(cluster={"worker": ["a:70000"]}), "a list of host:port"),
        (config(cluster={"chief": ["a:1", "b:1"]}), "allows one chief. Received: a:1, b:1"),
        (config(cluster={"worker": ["a:1", "a:1"]}), "has a repeated address. Received: a:1"),
        (
            config(task={"type": "worker", "index": 2}),
            "task must be one of its cluster's: worker 0, worker 1. Received: worker 2",
        ),
        (config(task={"type": "chief", "index": 0}), "Received: chief 0"),
        (config(task={"index": 0}), "Received: None 0"),
    ],
)
def test_a_wrong_tf_config_is_one_line(text, message):
    with pytest.raises(tfinvert.InputError, match=message) as error:
        read_tf_config(text)
    assert "\n" not in str(error.value)


def test_the_chief_comes_first():
    cluster = {"worker": ["b:2", "c:3"], "chief": ["a:1"]}
    task = read_tf_config(config(cluster=cluster))
    assert task.tasks == (("chief 0", "a:1"), ("worker 0", "b:2"), ("worker 1", "c:3"))
    assert (task.index, task.name(2)) == (2, "worker 1 (c:3)")


def test_one_process_is_a_group_of_one():
    with WorkerGroup() as group:
        assert group.is_chief and group.shard == (0, 1)
        assert group.all_gather(3) == [3]
        assert group.broadcast(lambda: 4) == 4
        assert group.should_stop(True) and not group.should_stop(False)
        group.check_agreement({"steps": 1})


HASTY = Timeouts(connect=20.0, grace=0.5)


class Cluster:
    """Workers in threads, which meet as the processes of a run do."""

    def __init__(self, count):
        self.addresses = free_addresses(count)
        self.pool = concurrent.futures.ThreadPoolExecutor(count)

    def name(self, index):
        return f"worker {index} ({self.addresses[index]})"

    def connect(self, tasks=None, facts=None, timeouts=HASTY):
        """Starts workers; `facts` may be a list, one for each worker."""
        tasks = tasks or [
            read_tf_config(tf_config(self.addresses, index)) for index in range(len(self.addresses))
        ]
        facts = facts or [{"steps": 1}] * len(tasks)
        pairs = zip(tasks, facts, strict=True)
        return [self.pool.submit(connect_workers, *pair, timeouts) for pair in pairs]


def results(futures):
    return [future.result(timeout=20) for future in futures]


def errors(futures):
    return [str(future.exception(timeout=20)) for future in futures]


def test_workers_meet():
    cluster = Cluster(3)
    groups = results(cluster.connect())
    assert [group.shard for group in groups] == [(0, 3), (1, 3), (2, 3)]
    assert groups[1].name(2) == cluster.name(2)
    for address in cluster.addresses:  # the ports are free again, for TensorFlow
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))).close()


def test_different_flags_are_reported_by_all():
    cluster = Cluster(3)
    facts = [{"steps": 1, "seed": 0}, {"steps": 1, "seed": 0}, {"steps": 2}]
    messages = errors(cluster.connect(facts=facts))
    assert len({*messages}) == 1
    rule = "all workers must have the same flags, data and library versions. Received on "
    assert f"{rule}{cluster.name(2)}: seed=None (chief: 0), steps=2 (chief: 1)" in messages[0]


def test_different_clusters_are_reported_by_all():
    cluster = Cluster(2)
    longer = [*cluster.addresses, "127.0.0.1:1"]
    configs = tf_config(cluster.addresses, 0), tf_config(longer, 2)
    messages = errors(cluster.connect([read_tf_config(each) for each in configs]))
    assert len({*messages}) == 1
    assert "TF_CONFIG must have the same cluster on every worker. Received: " in messages[0]
    assert "127.0.0.1:1) on worker 2 (127.0.0.1:1), " in messages[0]


def test_a_repeated_task_is_reported():
    cluster = Cluster(3)
    tasks = tuple((f"worker {i}", address) for i, address in enumerate(cluster.addresses))
    workers = cluster.connect([TaskSpec(tasks, index) for index in (0, 1)])
    time.sleep(0.5)  # until the first has tried its port, and released it
    messages = errors(workers + cluster.connect([TaskSpec(tasks, 1)]))
    assert all("must have another task on every worker. Received: worker 1" in x for x in messages)


def test_a_worker_that_does_not_start_is_named():
    cluster = Cluster(3)
    tasks = [read_tf_config(tf_config(cluster.addresses, index)) for index in (0, 2)]
    impatient = dataclasses.replace(HASTY, connect=1.0)
    messages = errors(cluster.connect(tasks, timeouts=impatient))
    assert messages[0].startswith(f"{cluster.name(1)} did not connect within 1 s")
    (message,) = errors(cluster.connect(tasks[1:], timeouts=impatient))
    assert f"the chief, {cluster.name(0)}, did not answer within 1 s" in message


def test_other_clients_of_the_port_are_ignored():
    cluster = Cluster(2)
    host, _, port = cluster.addresses[0].rpartition(":")
    tasks = [read_tf_config(tf_config(cluster.addresses, index)) for index in range(2)]
    chief = cluster.connect(tasks[:1])
    for text in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b""):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port))) as probe:
                probe.sendall(text)
                break
            time.sleep(0.05)
    second = cluster.pool.submit(connect_workers, tasks[1], {"steps": 1}, HASTY)
    assert [group.index for group in results([*chief, second])] == [0, 1]


def test_a_port_in_use_is_one_line():
    cluster = Cluster(2)
    port = int(cluster.addresses[0].rpartition(":")[2])
    with socket.create_server(("", port)):
        (message,) = errors(cluster.connect(timeouts=dataclasses.replace(HASTY, connect=1.0))[:1])
    expected = f"{cluster.name(0)} cannot listen on its port: {os.strerror(98)}"
    assert message.startswith(expected)
    assert "\n" not in message


# Tests with real processes.

RUN = {"feature": "hog", "data": "photos", "image_size": 32, "validation_images": 4}
SETTINGS = {"batch_size": 12, "width": 0.125, "ema_decay": 0.9, "clip_norm": 0.02, "steps": 20}
SETTINGS |= {"network": "paper", "optimizer": "adam"}  # quick to trace


class Processes:
    """The recipe in several processes on this machine, each in a directory of its own."""

    def __init__(self, place, count, **changes):
        self.place, self.count = place, count
        given = RUN | SETTINGS | {"checkpoint_every": 5, "log_every": 1} | changes
        self.flags = [f"--{name}={value}" for name, value in given.items()]
        for index in range(count):
            (place / str(index)).mkdir(parents=True)

    def start(self):
        addresses = free_addresses(self.count)
        return [
            Program(
                "recipes/train_inverter.py",
                *self.flags,
                "--strategy=multi_worker",
                "--workdir=run",
                cwd=self.place / str(index),
                environment={"TF_CONFIG": tf_config(addresses, index)},
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
            assert not started[index].ends(0.02), started[index].wait()
        os.kill(started[index].pid, number)
        return time.monotonic()


def end(started):
    finished = [program.wait() for program in started]
    return [x.returncode for x in finished], [x.stderr for x in finished]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The weights after training in a single process."""
    run = tmp_path_factory.mktemp("alone") / "run"
    run_training(TrainingRun(**RUN), Settings(**SETTINGS), run, "one", Intervals(1, 1000, 1000))
    return tfinvert.load(run / "inverter").network.get_weights()


def assert_equals(processes, alone):
    """Checks that a finished run has the weights of a single process, and one writer."""
    inverter = tfinvert.load(processes.run / "inverter")
    assert inverter.card["workers"] == processes.count
    for ours, theirs in zip(inverter.network.get_weights(), alone, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    entries = (processes.run / "history.jsonl").read_text().splitlines()
    assert [json.loads(entry)["step"] for entry in entries] == [*range(1, SETTINGS["steps"] + 1)]
    for index in range(1, processes.count):
        assert not [*(processes.place / str(index)).iterdir()]


@pytest.mark.slow
def test_three_train_what_one_does(tmp_path, alone):
    processes = Processes(tmp_path, 3)
    statuses, errors = end(processes.start())
    assert statuses == [0, 0, 0], errors
    assert_equals(processes, alone)


@pytest.mark.slow
def test_two_train_on_stored_features_what_one_does(tmp_path):
    (tmp_path / "photos").mkdir()
    random = np.random.default_rng(0)
    for number in range(8):
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    np.save(tmp_path / "features.npy", random.normal(size=(8, 16)))
    data, path = f"folder:{tmp_path / 'photos'}", str(tmp_path / "features.npy")
    flags = {"feature": "stored/16", "data": data, "pairs": path, "pairs_match": "order"}
    processes = Processes(tmp_path, 2, hidden_units=32, steps=6, **flags)
    statuses, errors = end(processes.start())
    assert statuses == [0, 0], errors
    config = TrainingRun(None, data, 32, pairs=PairsConfig(path, match="order"))
    settings = Settings(**SETTINGS | {"hidden_units": 32, "steps": 6})
    run_training(config, settings, tmp_path / "alone", "one")
    weights = [
        tfinvert.load(run / "inverter").network.get_weights()
        for run in (processes.run, tmp_path / "alone")
    ]
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_stopped_and_killed_two_go_on_and_train_what_one_does(tmp_path, alone):
    processes = Processes(tmp_path, 2)
    started = processes.start()
    processes.kill(started, 1, after=2, number=signal.SIGTERM)
    statuses, errors = end(started)
    assert statuses == [143, 143], errors
    last_lines = [error.splitlines()[-1] for error in errors]
    step = processes.steps()
    message = f"stopped after step {step} of 20, which is saved; run the same command to resume"
    assert last_lines == [message] * 2

    started = processes.start()
    begin = processes.kill(started, 0, after=step + 2, number=signal.SIGKILL)
    statuses, errors = end(started)
    assert time.monotonic() - begin < 30
    assert statuses[1] == EXIT_WORKER_LOST, errors
    last = errors[1].splitlines()[-1]
    assert last.startswith("error: worker 0 (127.0.0.1:") and "has disconnected" in last
    assert "Traceback" not in errors[1]
    assert step < processes.steps() < SETTINGS["steps"]
    assert not (processes.run / "inverter").exists()

    statuses, errors = end(processes.start())
    assert statuses == [0, 0], errors
    assert_equals(processes, alone)


@pytest.mark.slow
def test_a_silent_worker_ends_the_others(tmp_path):
    processes = Processes(tmp_path, 2, steps=100_000)
    started = processes.start()
    processes.kill(started, 1, after=2, number=signal.SIGSTOP)
    assert started[0].ends(100)
    os.kill(started[1].pid, signal.SIGKILL)
    (status, _), (error, _) = end(started)
    last = error.splitlines()[-1]
    assert status == EXIT_WORKER_LOST, error
    assert last.startswith("error: worker 1 (127.0.0.1:") and "has disconnected" in last
    assert "Traceback" not in error


@pytest.mark.slow
def test_the_error_of_one_worker_ends_the_others(tmp_path):
    processes = Processes(tmp_path, 2, data="folder:images", validation_data="photos")
    (tmp_path / "0" / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 40), (99 * number, 0, 0)).save(
            tmp_path / "0" / "images" / f"{number}.png"
        )
    statuses, errors = end(processes.start())
    assert statuses == [EXIT_WORKER_LOST, 2], errors
    last = [error.splitlines()[-1] for error in errors]
    assert last[0].startswith("error: worker 1 (127.0.0.1:") and "has disconnected" in last[0]
    assert last[1] == "error: no such folder: images"


# What `connect_workers` adds to TensorFlow, which these workers use alone.
TENSORFLOW_ALONE = """
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
total = tf.function(lambda: strategy.run(
    lambda: tf.distribute.get_replica_context().all_reduce("sum", tf.ones(3))))
print("started", flush=True)
total()
print("trained", flush=True)
"""


def start_alone(place, config):
    program = place / "program.py"
    program.write_text(TENSORFLOW_ALONE, encoding="utf-8")
    return Program(program, environment={"TF_CONFIG": config})


@pytest.mark.slow
def test_tensorflow_alone_waits_in_silence_for_a_worker_that_does_not_start(tmp_path):
    addresses = free_addresses(2)
    program = start_alone(tmp_path, tf_config(addresses, 0))
    assert not program.ends(30)
    os.kill(program.pid, signal.SIGKILL)
    finished = program.wait()
    assert "started" not in finished.stdout
    assert addresses[1] not in finished.stderr


@pytest.mark.slow
def test_tensorflow_alone_does_not_say_that_clusters_differ(tmp_path):
    addresses = free_addresses(2)
    configs = tf_config(addresses, 0), tf_config([*addresses, "127.0.0.1:9"], 1)
    programs = [start_alone(tmp_path, config) for config in configs]
    for program in programs:
        finished = program.wait()
        assert "started" in finished.stdout and "trained" not in finished.stdout
        assert "TF_CONFIG" not in finished.stderr and "that group has size" in finished.stderr


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
    task = read_tf_config(composed)
    assert [address for _, address in task.tasks] == [f"hog-{i}.hog:2222" for i in range(3)]
    assert task.name(task.index) == "worker 2 (hog-2.hog:2222)"


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
