"""Small ONNX models, built from nodes, and the values of their tensors by ONNX's own evaluator."""

import numpy as np
import onnx
import onnx.reference
from onnx import TensorProto, helper, numpy_helper

IR_VERSION, OPSET = 8, 17
CHANNELS, CLASSES, PATCH = 4, 6, 8


def build_model(nodes, inputs, outputs, weights=(), opset=OPSET, ir_version=IR_VERSION):
    """A model of nodes, with inputs and outputs as (name, type, shape)."""
    infos = [[helper.make_tensor_value_info(*each) for each in x] for x in (inputs, outputs)]
    initializers = [numpy_helper.from_array(value, name) for name, value in dict(weights).items()]
    graph = helper.make_graph(nodes, "network", *infos, initializers)
    domains = {node.domain for node in nodes} - {""}
    opsets = [("", opset), *((domain, 1) for domain in sorted(domains))]
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*each) for each in opsets],
        ir_version=ir_version,
    )


def build_network(
    batch="B", sides=(32, 32), dtype=TensorProto.FLOAT, layout="NCHW", extra=(), **versions
):
    """A network with tensors of every kind, whose only output is `probabilities`.

    `relu` is a grid and `channels_last` the same one as NHWC; `vector` and `logits` are vectors,
    `patches` a grid whose cells are the patch tokens of `tokens`, which begin with their mean;
    `scalar`, `blocks`, `folded` and `constant` can be no features.
    """
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.normal(0, 0.3, (CHANNELS, 3, 3, 3)),
        "bias": rng.normal(0, 0.3, CHANNELS),
        "head": rng.normal(0, 1, (CHANNELS, CLASSES)),
        "patch_kernel": rng.normal(0, 0.1, (5, 3, PATCH, PATCH)),
        "shift": rng.normal(0, 1, CLASSES),
    }
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    shapes = {"to_tokens": [0, 5, -1], "to_rows": [-1, CHANNELS], "to_blocks": [0, 2, 2, 0, -1]}
    weights |= {name: np.array(shape) for name, shape in shapes.items()}
    first = "images" if dtype == TensorProto.FLOAT else "cast"
    nodes = [] if first == "images" else [node("Cast", "images", "cast", to=TensorProto.FLOAT)]
    if layout == "NHWC":
        nodes.append(node("Transpose", first, "transposed", perm=[0, 3, 1, 2]))
        first = "transposed"
    nodes += [
        node("Conv", f"{first} kernel bias", "conv", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "conv", "relu"),
        node("Transpose", "relu", "channels_last", perm=[0, 2, 3, 1]),
        node("GlobalAveragePool", "relu", "pooled"),
        node("Flatten", "pooled", "vector"),
        node("MatMul", "vector head", "product"),
        node("Add", "product shift", "logits"),
        node("Softmax", "logits", "probabilities"),
        node("Conv", f"{first} patch_kernel", "patches", strides=[PATCH, PATCH]),
        node("Reshape", "patches to_tokens", "columns"),
        node("Transpose", "columns", "patch_tokens", perm=[0, 2, 1]),
        node("ReduceMean", "patch_tokens", "mean_token", axes=[1]),
        node("Concat", "mean_token patch_tokens", "tokens", axis=1),
        node("ReduceMean", "logits", "scalar", axes=[1], keepdims=0),
        node("Reshape", "relu to_blocks", "blocks"),
        node("Reshape", "channels_last to_rows", "folded"),
        node("Relu", "shift", "constant"),
        *extra,
    ]
    shape = [batch, *sides, 3] if layout == "NHWC" else [batch, 3, *sides]
    outputs = [("probabilities", TensorProto.FLOAT, [batch, CLASSES])]
    return build_model(nodes, [("images", dtype, shape)], outputs, weights, **versions)


def node(operator, inputs, outputs, **attributes):
    """A node whose inputs and outputs are separated by blanks."""
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def evaluate(model, name, **inputs):
    """The value of a tensor, computed in NumPy."""
    evaluated = onnx.ModelProto()
    evaluated.CopyFrom(model)
    del evaluated.graph.output[:]
    evaluated.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    (value,) = onnx.reference.ReferenceEvaluator(evaluated).run(None, inputs)
    return value


# Expansion, channels, blocks and stride of MobileNetV2 (Sandler et al. 2018, table 2).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build_mobilenet_v2(tensors, side=224):
    """MobileNetV2 up to the mean of its last grid, `embedding`, from PyTorch's tensors by name."""
    weights = {"zero": np.float32(0), "six": np.float32(6), **tensors}
    nodes = []

    def convolve(x, prefix, index, stride=1, activate=True):
        """Adds convolution, normalisation and ReLU6; returns the name of the result."""
        convolution, norm = (f"{prefix}.{i}" for i in (index, index + 1))
        count, inputs, size = weights[f"{convolution}.weight"].shape[:3]
        attributes = {"strides": [stride] * 2, "pads": [size // 2] * 4}
        attributes["group"] = count if inputs == 1 else 1
        nodes.append(node("Conv", f"{x} {convolution}.weight", convolution, **attributes))
        statistics = " ".join(
            f"{norm}.{name}" for name in ("weight", "bias", "running_mean", "running_var")
        )
        nodes.append(node("BatchNormalization", f"{convolution} {statistics}", norm, epsilon=1e-5))
        if activate:
            nodes.append(node("Clip", f"{norm} zero six", f"{norm}.relu6"))
        return nodes[-1].output[0]

    x, block = convolve("images", "features.0", 0, 2), 1
    for expansion, _, blocks, stride in STAGES:
        for i in range(blocks):
            before, prefix, index = x, f"features.{block}.conv", 0
            if expansion > 1:
                x, index = convolve(x, prefix, 0), 3
            x = convolve(x, prefix, index, 1 if i else stride)
            x = convolve(x, prefix, index + 3, activate=False)
            if i:
                nodes.append(node("Add", f"{before} {x}", f"features.{block}.add"))
                x = f"features.{block}.add"
            block += 1
    x = convolve(x, f"features.{block}", 0)
    nodes += [node("GlobalAveragePool", x, "mean"), node("Flatten", "mean", "embedding")]
    images = [("images", TensorProto.FLOAT, ["B", 3, side, side])]
    return build_model(nodes, images, [("embedding", TensorProto.FLOAT, ["B", 1280])], weights)
