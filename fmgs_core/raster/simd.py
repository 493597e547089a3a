"""A numba type for one tile row: sixteen neighbouring pixels, held as one LLVM vector <16 x float>.

Numba's loop vectoriser has to be coaxed, and what it emits depends on the shape of every loop around it. A vector type
says what is meant: kernels read as if they worked on one pixel, and LLVM splits the vector for the CPU at hand (one
AVX-512 register, two AVX, four NEON). No operation assumes the absence of NaN or infinity; only contraction to FMA and
reciprocal division are licensed.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import models, register_model
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic as _typed_intrinsic

LANES = 16
_FLAGS = ("contract", "arcp", "nsz")
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_VECTOR_MASK = ir.VectorType(ir.IntType(1), LANES)
_INDEX = ir.IntType(32)


class RowType(types.Type):
    """Sixteen float32."""

    def __init__(self):
        super().__init__(name="Row")


class MaskType(types.Type):
    """Sixteen booleans."""

    def __init__(self):
        super().__init__(name="Mask")


def intrinsic(function: Callable) -> Any:
    """Numba's, hidden from type checkers: they take it for the undecorated function, which has one argument more."""
    return _typed_intrinsic(function)


row_type = RowType()
mask_type = MaskType()


@register_model(RowType)
class _RowModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR_MASK)


def _broadcast(builder, scalar, vector):
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_INDEX, 0))
    picks = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), picks)


@lower_cast(types.Float, RowType)
@lower_cast(types.Integer, RowType)
def _scalar_to_row(context, builder, from_type, _to_type, value):
    return _broadcast(builder, context.cast(builder, value, from_type, types.float32), _VECTOR)


def _is_row_or_number(t: types.Type) -> bool:
    return isinstance(t, (RowType, types.Float, types.Integer))


def _register_operator(functions: tuple, result: types.Type, emit) -> None:
    """Teaches numba `row op row`, `row op number` and `number op row`; the number is broadcast by its cast."""

    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and row_type in args and all(map(_is_row_or_number, args)):
                return signature(result, row_type, row_type)
            return None

    for function in functions:
        infer_global(function)(type(f"Row_{function.__name__}", (Typing,), {}))  # pyright: ignore[reportOptionalCall]
        lower_builtin(function, RowType, RowType)(lambda context, builder, sig, args: emit(builder, *args))


_register_operator((operator.add, operator.iadd), row_type, lambda b, x, y: b.fadd(x, y, flags=_FLAGS))
_register_operator((operator.sub, operator.isub), row_type, lambda b, x, y: b.fsub(x, y, flags=_FLAGS))
_register_operator((operator.mul, operator.imul), row_type, lambda b, x, y: b.fmul(x, y, flags=_FLAGS))
_register_operator((operator.truediv,), row_type, lambda b, x, y: b.fdiv(x, y, flags=_FLAGS))
for _function, _symbol in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="),
):  # fmt: skip
    _register_operator((_function,), mask_type, lambda b, x, y, symbol=_symbol: b.fcmp_ordered(symbol, x, y))


@infer_global(operator.and_)  # pyright: ignore[reportOptionalCall]
class _MaskAnd(AbstractTemplate):
    def generic(self, args, kws):
        return signature(mask_type, *args) if args == (mask_type, mask_type) else None


@lower_builtin(operator.and_, MaskType, MaskType)
def _mask_and(context, builder, sig, args):
    return builder.and_(*args)


@infer_global(operator.neg)  # pyright: ignore[reportOptionalCall]
class _RowNegative(AbstractTemplate):
    def generic(self, args, kws):
        return signature(row_type, row_type) if args == (row_type,) else None


@lower_builtin(operator.neg, RowType)
def _row_negative(context, builder, sig, args):
    return builder.fneg(args[0])


def _row_pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


@intrinsic
def load(typingctx, array, index):
    """Row of `array` (C-contiguous float32) that starts at the flat element index."""

    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.load(_row_pointer(context, builder, sig.args[0], args[0], index), align=4)

    return row_type(array, index), codegen


@intrinsic
def store(typingctx, array, index, row):
    """Writes a row into `array` (C-contiguous float32) from the flat element index on."""

    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        builder.store(args[2], _row_pointer(context, builder, sig.args[0], args[0], index), align=4)
        return context.get_dummy_value()

    return types.void(array, index, row_type), codegen


@intrinsic
def full(typingctx, value):
    """The row with `value` in every lane."""

    def codegen(context, builder, sig, args):
        return args[0]

    return row_type(row_type), codegen


@intrinsic
def ramp(typingctx):
    """The row 0, 1, ..., 15."""

    def codegen(context, builder, sig, args):
        return ir.Constant(_VECTOR, [float(i) for i in range(LANES)])

    return row_type(), codegen


@intrinsic
def where(typingctx, mask, if_true, if_false):
    """Lane-wise choice."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return row_type(mask_type, row_type, row_type), codegen


@intrinsic
def smaller(typingctx, x, y):
    """Lane-wise minimum; y where either is NaN."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return row_type(row_type, row_type), codegen


@intrinsic
def larger(typingctx, x, y):
    """Lane-wise maximum; y where either is NaN."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return row_type(row_type, row_type), codegen


@intrinsic
def any_lane(typingctx, mask):
    """True where at least one lane is."""

    def codegen(context, builder, sig, args):
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), ir.Constant(bits, 0))

    return types.boolean(mask_type), codegen


@intrinsic
def lane_sum(typingctx, row):
    """Sum of the sixteen lanes as float32, in a fixed tree order."""

    def codegen(context, builder, sig, args):
        function_type = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _VECTOR])
        reduce = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return builder.call(reduce, [ir.Constant(ir.FloatType(), -0.0), args[0]], fastmath=("reassoc",))

    return types.float32(row_type), codegen
