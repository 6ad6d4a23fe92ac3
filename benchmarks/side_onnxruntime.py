"""ONNX Runtime with its default settings: predictions of networks of plain layers and of images'."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from benchmarks.nets import NETS, Net, examples, weights
from benchmarks.problems import NORM_EPS, Prepared, digest

__all__ = ["PROBLEMS", "describe"]

KINDS = {
    "linear": "Gemm", "conv": "Conv", "batch_norm": "BatchNormalization", "relu": "Relu", "tanh": "Tanh",
    "flatten": "Flatten", "max_pool": "MaxPool",
}  # fmt: skip
OPSET, IR_VERSION = 17, 8


def describe() -> dict[str, Any]:
    """Versions, for the report."""
    return {"library": "onnxruntime", "version": onnxruntime.__version__, "numpy": np.__version__}


def model_of(net: Net) -> onnx.ModelProto:
    """The network at test time, of any number of examples."""
    if not {kind for kind, *_ in net.layers} <= KINDS.keys():
        raise NotImplementedError("a layer that this side does not write")
    w = weights(net)
    nodes = []
    for n, (kind, *numbers) in enumerate(net.layers):
        names = ("weight", "bias", "running_mean", "running_var") if kind == "batch_norm" else ("weight", "bias")
        attributes: dict[str, Any] = {
            "linear": {"transB": 1}, "batch_norm": {"epsilon": NORM_EPS},
            "max_pool": {"kernel_shape": numbers * 2, "strides": numbers * 2},
        }.get(kind, {})  # fmt: skip
        inputs = [f"h{n}", *[f"{n}.{name}" for name in names if f"{n}.{name}" in w]]
        nodes.append(helper.make_node(KINDS[kind], inputs, [f"h{n + 1}"], **attributes))
    element = helper.np_dtype_to_tensor_dtype(np.dtype(net.dtype))
    given = helper.make_tensor_value_info("h0", element, ["N", *net.shape])
    result = helper.make_tensor_value_info(f"h{len(nodes)}", element, ["N", None])
    constants = [numpy_helper.from_array(a, name) for name, a in w.items()]
    graph = helper.make_graph(nodes, "net", [given], [result], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def predict(name: str, count: int) -> Prepared:
    """What the network says of examples."""
    net = NETS[name]
    session = onnxruntime.InferenceSession(model_of(net).SerializeToString(), providers=["CPUExecutionProvider"])
    given = {"h0": examples(net, count)}

    def run() -> Any:
        return session.run(None, given)[0]

    return Prepared(run, lambda: {"out": digest(run())})


PROBLEMS = {"predict": predict}
