"""The configuration files in export/, parsed as their readers parse them."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import loopback_server
import pytest
import tensorflow as tf
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,  # noqa: F401  # in the pool, by name
)
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tfinvert.serving.warmup import PATH

EXPORT = pathlib.Path(__file__).parents[2] / "export"


def read_yaml(path):
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def parse_flags(arguments):
    """Returns the values of the server's flags by name."""
    return dict(argument.removeprefix("--").split("=") for argument in arguments)


def define_message(name, **fields):
    """Defines a message that tensorflow-serving-api lacks; fields are name → (number, type).

    See session_bundle_config.proto and monitoring_config.proto of TensorFlow Serving.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", syntax="proto3")
    file.package, file.dependency[:] = "test", ["google/protobuf/wrappers.proto"]
    made = file.message_type.add(name=name)
    for field, (number, kind) in fields.items():
        added = made.field.add(name=field, number=number, label=1)
        if isinstance(kind, str):
            added.type, added.type_name = 11, kind
        else:
            added.type = kind
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))


def test_the_model_is_the_one_that_the_documents_export():
    text = (EXPORT / "models.config").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (
        "hog",
        "/models/hog",
        "tensorflow",
    )


def test_batches_are_bounded():
    number = ".google.protobuf.Int64Value"
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    fields = {name: (at, number) for at, name in enumerate(names, 1)}
    parameters = define_message("BatchingParameters", **fields)()
    text_format.Parse((EXPORT / "batching.config").read_text(encoding="utf-8"), parameters)
    assert all(getattr(parameters, name).value > 0 for name in names)


def test_metrics_have_the_documented_path():
    define_message("PrometheusConfig", enable=(1, 8), path=(2, 9))
    config = define_message("MonitoringConfig", prometheus_config=(1, ".test.PrometheusConfig"))()
    text_format.Parse((EXPORT / "monitoring.config").read_text(encoding="utf-8"), config)
    assert config.prometheus_config.enable
    path = config.prometheus_config.path
    (deployment,) = (x for x in read_yaml(EXPORT / "kubernetes.yml") if x["kind"] == "Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == path
    document = (EXPORT.parent / "docs" / "serving.md").read_text(encoding="utf-8")
    assert path in document


def test_warm_up_records_are_prediction_logs(model, signatures):
    loaded = signatures(model)
    seen = []
    for record in tf.data.TFRecordDataset(str(model / PATH)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(v)) for name, v in request.inputs.items()}
        assert len(loaded[request.model_spec.signature_name](**inputs)["reconstruction"]) == 1
        seen.append(request.model_spec.signature_name)
    assert seen == ["serving_default", "reconstruct_bytes", "reconstruct_bytes", "invert"]


def test_docker_compose_matches_its_schema():
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, EXPORT / "docker-compose.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docker_compose_mounts_the_files_of_the_flags():
    (compose,) = read_yaml(EXPORT / "docker-compose.yml")
    (service,) = compose["services"].values()
    mounts = dict(volume.split(":")[1::-1] for volume in service["volumes"])
    files = [
        value for flag, value in parse_flags(service["command"]).items() if flag.endswith("_file")
    ]
    assert sorted(mounts) == sorted([*files, "/models"])
    assert all((EXPORT / mounts[file]).is_file() for file in files)
    assert (EXPORT / mounts["/models"]).resolve() == EXPORT.parent / "models"


def test_the_health_check_recognises_a_ready_server(model):
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    (compose,) = read_yaml(EXPORT / "docker-compose.yml")
    (service,) = compose["services"].values()
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    with loopback_server.Server(loopback_server.SingleModel(model.parent)) as server:
        check = [part.replace("8501", str(server.rest_port)) for part in command]
        assert subprocess.run(check).returncode == 0
        other = [part.replace("models/hog", "models/lbp") for part in check]
        assert subprocess.run(other).returncode == 1
    assert subprocess.run(check, capture_output=True).returncode == 1


def test_kubernetes_objects_match_their_schemas():
    validate = pytest.importorskip("kubernetes_validate")
    for manifest in read_yaml(EXPORT / "kubernetes.yml"):
        validate.validate(manifest, "1.31", strict=True)
    deployment = read_yaml(EXPORT / "kubernetes.yml")[0]
    deployment["spec"]["replica"] = 2
    with pytest.raises(validate.ValidationError, match="replica"):
        validate.validate(deployment, "1.31", strict=True)


def test_kubernetes_objects_refer_to_existing_names():
    deployment, service = read_yaml(EXPORT / "kubernetes.yml")
    (kustomization,) = read_yaml(EXPORT / "kustomization.yml")
    (generated,) = kustomization["configMapGenerator"]
    template = deployment["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    (container,) = pod["containers"]
    assert kustomization["resources"] == ["kubernetes.yml"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {*ports}
    for name in ("startupProbe", "readinessProbe"):
        assert container[name]["httpGet"]["port"] == "rest"
        assert container[name]["httpGet"]["path"] == "/v1/models/hog/metadata"
    assert container["livenessProbe"]["tcpSocket"]["port"] == "grpc"
    annotations = template["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["rest"])
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert len(mounts) == len(volumes)
    assert mounts["/config"]["configMap"]["name"] == generated["name"]
    flags = parse_flags(container["args"])
    files = [value for flag, value in flags.items() if flag.endswith("_file")]
    assert sorted(files) == sorted(f"/config/{name}" for name in generated["files"])
    assert all((EXPORT / name).is_file() for name in generated["files"])


def test_kustomize_generates_the_objects():
    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl")
    yaml = pytest.importorskip("yaml")
    done = subprocess.run(["kubectl", "kustomize", EXPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    assert {*made} == {"ConfigMap", "Deployment", "Service"}
    name = made["ConfigMap"]["metadata"]["name"]
    assert re.fullmatch(r"tfinvert-\w+", name)
    volumes = made["Deployment"]["spec"]["template"]["spec"]["volumes"]
    assert name in json.dumps(volumes)
    data = made["ConfigMap"]["data"]
    assert data["models.config"] == (EXPORT / "models.config").read_text(encoding="utf-8")
