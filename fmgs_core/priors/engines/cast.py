"""An ONNX graph in fewer bits, for runtimes that take every type from the graph (TensorRT's strongly typed networks).

Products (matrices, convolutions) and what lies inside attention are computed in the lower precision, where GPUs are fast and
fused attention needs all of it in one type. Float32 stay: norms and GELU, whose sums and tails need the digits, and sums of
two maps: the residual stream grows through the layers, and 8 bits of mantissa would lose what one layer adds. That is what
torch's autocast does too, except that its residual sums follow the stream. Input and output stay float32.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

_LOW = {torch.bfloat16: TensorProto.BFLOAT16, torch.float16: TensorProto.FLOAT16}
_BF16_OPSET = 22
"""The first whose convolutions admit bfloat16. Of the operators that our files hold it changes nothing else since 18."""
_PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose"}
_FOLLOWING = {"Softmax", "Mul", "Div", "Sub", "Add", "Neg", "Identity", "Expand", "Split", "Gather", "Concat"} | {
    *("Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Flatten"),
}
"""Computed in the type that comes in; all others in float32."""
_NOT_FLOAT = {"Shape", "Size", "Equal", "Less", "Greater", "Not", "And", "Or", "NonZero", "ArgMax"}


def cast_model(model: onnx.ModelProto, dtype: torch.dtype) -> onnx.ModelProto:
    """A copy whose products are of `dtype`; the same names, shapes and float32 at the border.

    Raises:
        ValueError: neither bfloat16 nor float16, or weights that float16 cannot hold.
    """
    if dtype not in _LOW:
        raise ValueError(f"cast: expected bfloat16 or float16, got {dtype}")
    graph = _Caster(model.graph, _LOW[dtype]).graph()
    opsets = [helper.make_opsetid(o.domain, _opset(o, dtype)) for o in model.opset_import]
    return helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version, producer_name="fmgs")


def _opset(opset: Any, dtype: torch.dtype) -> int:
    return max(opset.version, _BF16_OPSET) if not opset.domain and dtype == torch.bfloat16 else opset.version


class _Caster:
    """Walks the graph once, in its order, and knows of each value which type it has by then."""

    def __init__(self, source: onnx.GraphProto, low: int):
        self._source, self._low = source, low
        self._constants = {t.name: t for t in source.initializer}
        self._types = {t.name: t.data_type for t in source.initializer}
        self._types |= {v.name: v.type.tensor_type.elem_type for v in source.input}
        self._nodes: list[NodeProto] = []
        self._copies: dict[tuple[str, int], str] = {}
        self._cast_constants: list[TensorProto] = []

    def graph(self) -> onnx.GraphProto:
        for node in self._source.node:
            self._add(node)
        used = {name for node in self._nodes for name in node.input}
        kept = [t for t in self._source.initializer if t.name in used]
        constants = kept + self._cast_constants
        return helper.make_graph(self._nodes, self._source.name, list(self._source.input), list(self._source.output), constants)

    def _add(self, node: NodeProto) -> None:
        """The node with inputs of one floating type, and a cast of what leaves the graph."""
        wanted = self._type_of(node)
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.ClearField("metadata_props")
        copy.input[:] = [self._as(name, wanted) for name in node.input]
        outputs = {v.name for v in self._source.output}
        leaving = [k for k, name in enumerate(copy.output) if name in outputs and wanted == self._low]
        for k in leaving:
            copy.output[k] += "_low"
        self._nodes.append(copy)
        self._types |= dict.fromkeys(copy.output, self._result_type(node, wanted))
        for k in leaving:
            self._nodes.append(helper.make_node("Cast", [copy.output[k]], [node.output[k]], to=TensorProto.FLOAT))

    def _type_of(self, node: NodeProto) -> int:
        """The floating type that the node is computed in."""
        if node.op_type in _PRODUCTS:
            return self._low
        maps = [name for name in node.input if name not in self._constants and self._is_float(name)]
        follows = node.op_type in _FOLLOWING and maps and all(self._types[name] == self._low for name in maps)
        return self._low if follows and not self._sums_maps(node) else TensorProto.FLOAT

    def _sums_maps(self, node: NodeProto) -> bool:
        """Whether it adds two maps (one may be a constant map, as of positions) and not a bias."""
        return node.op_type in ("Add", "Sub") and all(self._is_map(name) for name in node.input)

    def _is_map(self, name: str) -> bool:
        constant = self._constants.get(name)
        return constant is None or sum(side > 1 for side in constant.dims) > 1

    def _result_type(self, node: NodeProto, wanted: int) -> int:
        if node.op_type in _NOT_FLOAT:
            return TensorProto.INT64
        if node.op_type == "Cast":
            return next(a.i for a in node.attribute if a.name == "to")
        if node.op_type in ("Constant", "ConstantOfShape"):
            return next((a.t.data_type for a in node.attribute if a.name == "value"), TensorProto.FLOAT)
        first = node.input[1 if node.op_type == "Where" else 0] if node.input else ""
        return wanted if self._is_float(first) else self._types.get(first, TensorProto.FLOAT)

    def _is_float(self, name: str) -> bool:
        return self._types.get(name) in (TensorProto.FLOAT, self._low)

    def _as(self, name: str, wanted: int) -> str:
        """The value in the wanted type: itself, a cast constant, or the output of a cast that is made once."""
        if not self._is_float(name) or self._types[name] == wanted:
            return name
        if (name, wanted) not in self._copies:
            copy = self._copies[name, wanted] = f"{name}_as_{TensorProto.DataType.Name(wanted).lower()}"
            self._types[copy] = wanted
            if name in self._constants:
                self._cast_constants.append(_cast_constant(self._constants[name], copy, wanted))
            else:
                self._nodes.append(helper.make_node("Cast", [name], [copy], to=wanted))
        return self._copies[name, wanted]


def _cast_constant(tensor: TensorProto, name: str, wanted: int) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        cast = values.astype(helper.tensor_dtype_to_np_dtype(wanted))
    if not np.isfinite(cast.astype(np.float32)).all():
        raise ValueError(f"cast: expected weights that float16 can hold, got {np.abs(values).max():.3g} in {tensor.name}")
    return helper.make_tensor(name, wanted, values.shape, cast.tobytes(), raw=True)


def products_in(model: onnx.ModelProto) -> Iterator[str]:
    """Names of the operators that `cast_model` computes in the lower precision, once for each."""
    return (node.op_type for node in model.graph.node if node.op_type in _PRODUCTS)
