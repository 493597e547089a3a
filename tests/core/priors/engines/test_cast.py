"""Graphs in fewer bits. Kinds: parity with float32 within the tolerances that engines are held to, structure, validity."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fmgs_core.priors.engines.parity import TOLERANCES, compare
from fmgs_core.priors.engines.picture import body_picture, normalised_pixels
from fmgs_core.priors.engines.torch_engine import TorchEngine
from fmgs_core.priors.sapiens.tasks import Task

from .networks import INPUT_HW, tiny

onnx = pytest.importorskip("onnx", reason="pip install fmgs_ros[sapiens]")
ort = pytest.importorskip("onnxruntime", reason="pip install fmgs_ros[sapiens]")
pytest.importorskip("onnxscript", reason="pip install fmgs_ros[sapiens]")

from fmgs_core.priors.engines.cast import cast_model  # noqa: E402

TASKS = (Task.NORMAL, Task.POSE)  # of DEPTH and SEG the layers are those of NORMAL
HALF, BRAIN = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16


@pytest.fixture
def exported(onnx_file: Callable[[Task], Path]) -> dict[Task, Path]:
    return {task: onnx_file(task) for task in TASKS}


def said(model, pixels: torch.Tensor) -> torch.Tensor:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"pixels": pixels.numpy()})[0])


def rounded_through_float(model):
    """The same graph for a runtime without bfloat16: constants and casts round to it, products are computed in float32."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for tensor in plain.graph.initializer:
        if tensor.data_type == BRAIN:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    nodes = []
    for node in plain.graph.node:
        if node.op_type == "Cast" and node.attribute[0].i == BRAIN:
            back = onnx.helper.make_node("Cast", [f"{node.output[0]}_16"], [node.output[0]], to=onnx.TensorProto.FLOAT)
            node.output[0] += "_16"
            nodes += [node, back]
        else:
            nodes.append(node)
    del plain.graph.node[:]
    plain.graph.node.extend(nodes)
    plain.opset_import[0].version = 18
    return plain


def value_types(model) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    return {v.name: v.type.tensor_type.elem_type for v in values} | {t.name: t.data_type for t in inferred.initializer}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("task", TASKS)
def test_fewer_bits_say_nearly_the_same(exported: dict[Task, Path], task: Task, dtype: torch.dtype):
    network, io = tiny(task)
    pixels = normalised_pixels(body_picture(*INPUT_HW))
    model = cast_model(onnx.load(exported[task]), dtype)
    got = said(model if dtype == torch.float16 else rounded_through_float(model), pixels)
    parity = compare(task, TorchEngine(network, io).run(pixels), got)
    assert parity.complaints(TOLERANCES[task]) == []
    assert not parity.exact(), "nothing was rounded"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_graph_is_valid_and_its_border_the_same(exported: dict[Task, Path], dtype: torch.dtype):
    before = onnx.load(exported[Task.NORMAL])
    model = cast_model(before, dtype)
    onnx.checker.check_model(model, full_check=True)
    assert list(model.graph.input) == list(before.graph.input) and list(model.graph.output) == list(before.graph.output)
    assert (dtype == torch.bfloat16) == (model.opset_import[0].version == 22), "where convolutions admit it"
    assert len(model.SerializeToString()) < 0.6 * len(before.SerializeToString())


@pytest.mark.parametrize(("dtype", "low"), [(torch.float16, HALF), (torch.bfloat16, BRAIN)])
def test_each_node_has_one_type_and_the_right_one(exported: dict[Task, Path], dtype: torch.dtype, low: int):
    model = cast_model(onnx.load(exported[Task.NORMAL]), dtype)
    types, seen = value_types(model), set()
    for node in (n for n in model.graph.node if n.op_type != "Cast"):
        inputs = {types[name] for name in node.input if types.get(name) in (low, onnx.TensorProto.FLOAT)}
        assert len(inputs) <= 1, f"{node.op_type} {node.name} mixes types"
        seen |= {(node.op_type, kind) for kind in inputs}
    for product in ("MatMul", "Conv", "ConvTranspose", "Softmax"):
        assert (product, low) in seen and (product, onnx.TensorProto.FLOAT) not in seen
    for exact in ("LayerNormalization", "InstanceNormalization", "Erf"):
        assert (exact, onnx.TensorProto.FLOAT) in seen and (exact, low) not in seen


def test_the_residual_stream_keeps_its_digits(exported: dict[Task, Path]):
    model = cast_model(onnx.load(exported[Task.NORMAL]), torch.float16)
    types, constants = value_types(model), {t.name for t in model.graph.initializer}
    sums = [n for n in model.graph.node if n.op_type == "Add" and not set(n.input) & constants]
    assert len(sums) >= 4, "two for each of the two layers"
    assert all(types[name] == onnx.TensorProto.FLOAT for n in sums for name in n.input)


def test_other_types_and_weights_beyond_float16_are_refused(exported: dict[Task, Path]):
    model = onnx.load(exported[Task.NORMAL])
    with pytest.raises(ValueError, match=r"expected bfloat16 or float16, got torch\.float64"):
        cast_model(model, torch.float64)
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(weight.dims), 1e5, np.float32), weight.name))
    with pytest.raises(ValueError, match=f"expected weights that float16 can hold, got 1e\\+05 in {weight.name}"):
        cast_model(model, torch.float16)
    cast_model(model, torch.bfloat16)
