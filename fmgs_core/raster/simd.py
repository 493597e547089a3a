"""A numba type for sixteen floats, held as one LLVM vector <16 x float>: sixteen splats, or a block of 4 x 4 pixels.

Numba's loop vectoriser has to be coaxed, and what it emits depends on the shape of every loop around it. A vector type
says what is meant: kernels read as if they worked on one number, and LLVM splits the vector for the CPU at hand (one
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
BLOCK = 4
"""Edge of a block of pixels; a row holds its pixels row by row."""
_FLAGS = ("contract", "arcp", "nsz")
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_VECTOR_MASK = ir.VectorType(ir.IntType(1), LANES)
_INDEX = ir.IntType(32)
_QUAD = ir.VectorType(ir.FloatType(), 4)
_QUAD_MASK = ir.VectorType(ir.IntType(1), 4)


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
def block_x(typingctx):
    """The columns of a block's pixels: 0 1 2 3, four times."""

    def codegen(context, builder, sig, args):
        return ir.Constant(_VECTOR, [float(i % BLOCK) for i in range(LANES)])

    return row_type(), codegen


@intrinsic
def block_y(typingctx):
    """The rows of a block's pixels: four times 0, four times 1, ..."""

    def codegen(context, builder, sig, args):
        return ir.Constant(_VECTOR, [float(i // BLOCK) for i in range(LANES)])

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


@intrinsic
def lanes(typingctx, mask):
    """The mask as the bits of an integer, lane 0 the lowest; zero where no lane is true."""

    def codegen(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(mask_type), codegen


def _lanewise(name: str, doc: str) -> Any:
    def lanewise(typingctx, row):
        def codegen(context, builder, sig, args):
            function_type = ir.FunctionType(_VECTOR, [_VECTOR])
            function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.v{LANES}f32")
            return builder.call(function, args)

        return row_type(row_type), codegen

    lanewise.__doc__ = doc
    return intrinsic(lanewise)


root = _lanewise("sqrt", "Lane-wise square root.")
floor_of = _lanewise("floor", "Lane-wise floor.")
magnitude = _lanewise("fabs", "Lane-wise absolute value.")


@intrinsic
def gather(typingctx, array, stride, column, indices):
    """array[indices[lane], column] for an array (C-contiguous float32) with `stride` columns and sixteen indices."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        stride, column = (context.cast(builder, args[k], sig.args[k], types.intp) for k in (1, 2))
        indices = context.make_array(sig.args[3])(context, builder, args[3]).data
        result = ir.Constant(_VECTOR, ir.Undefined)
        for lane in range(LANES):
            index = builder.load(builder.gep(indices, [ir.Constant(_INDEX, lane)]))
            index = context.cast(builder, index, sig.args[3].dtype, types.intp)
            value = builder.load(builder.gep(data, [builder.add(builder.mul(index, stride), column)]))
            result = builder.insert_element(result, value, ir.Constant(_INDEX, lane))
        return result

    return row_type(array, stride, column, indices), codegen


@intrinsic
def store_sums(typingctx, array, index, a, b, c, d):
    """Writes the lane sums of four rows to array[index : index + 4] (C-contiguous float32), in a fixed tree order."""

    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        a, b, c, d = args[2:]
        ab, cd = _pairwise(builder, a, b), _pairwise(builder, c, d)
        sums = _pairwise(builder, ab, cd)
        sums = builder.fadd(_lanes_of(builder, sums, sums, range(0, 8)), _lanes_of(builder, sums, sums, range(8, 16)))
        sums = builder.fadd(_lanes_of(builder, sums, sums, range(0, 4)), _lanes_of(builder, sums, sums, range(4, 8)))
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        builder.store(sums, builder.bitcast(builder.gep(data, [index]), _QUAD.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, index, row_type, row_type, row_type, row_type), codegen


@intrinsic
def transposed(typingctx, a, b, c, d):
    """Four channels of a block's pixels to the four channels of each pixel, one block row after the other; and back:
    lane 4 p + c of result r is lane 4 r + p of argument c."""

    def codegen(context, builder, sig, args):
        left, right = (_lanes_of(builder, args[k], args[k + 1], range(2 * LANES)) for k in (0, 2))
        picks = [[c * LANES + BLOCK * r + p for p in range(BLOCK) for c in range(4)] for r in range(4)]
        return context.make_tuple(builder, sig.return_type, [_lanes_of(builder, left, right, pick) for pick in picks])

    return types.UniTuple(row_type, 4)(a, b, c, d), codegen


@intrinsic
def untransposed(typingctx, a, b, c, d):
    """Inverse of `transposed`: lane 4 r + p of result c is lane 4 p + c of argument r."""

    def codegen(context, builder, sig, args):
        left, right = (_lanes_of(builder, args[k], args[k + 1], range(2 * LANES)) for k in (0, 2))
        picks = [[r * LANES + 4 * p + c for r in range(4) for p in range(BLOCK)] for c in range(4)]
        return context.make_tuple(builder, sig.return_type, [_lanes_of(builder, left, right, pick) for pick in picks])

    return types.UniTuple(row_type, 4)(a, b, c, d), codegen


@intrinsic
def load_pixels(typingctx, array, index, stride, pixels, channels):
    """Four channels of four pixels, side by side, the pixels `stride` floats apart in `array`; zero from the pixel `pixels`
    and the channel `channels` on, which are not read."""

    def codegen(context, builder, sig, args):
        function_type = ir.FunctionType(_QUAD, [_QUAD.as_pointer(), _INDEX, _QUAD_MASK, _QUAD])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.masked.load.v4f32.p0v4f32")
        quads = []
        for pointer, mask in _pixel_quads(context, builder, sig, args):
            quads.append(builder.call(function, [pointer, ir.Constant(_INDEX, 4), mask, ir.Constant(_QUAD, [0.0] * 4)]))
        left, right = (_lanes_of(builder, quads[k], quads[k + 1], range(8)) for k in (0, 2))
        return _lanes_of(builder, left, right, range(LANES))

    return row_type(array, index, stride, pixels, channels), codegen


@intrinsic
def store_pixels(typingctx, array, index, stride, pixels, channels, row):
    """The inverse of `load_pixels`."""

    def codegen(context, builder, sig, args):
        function_type = ir.FunctionType(ir.VoidType(), [_QUAD, _QUAD.as_pointer(), _INDEX, _QUAD_MASK])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.masked.store.v4f32.p0v4f32")
        for pixel, (pointer, mask) in enumerate(_pixel_quads(context, builder, sig, args)):
            quad = _lanes_of(builder, args[5], args[5], range(4 * pixel, 4 * pixel + 4))
            builder.call(function, [quad, pointer, ir.Constant(_INDEX, 4), mask])
        return context.get_dummy_value()

    return types.void(array, index, stride, pixels, channels, row), codegen


@intrinsic
def take_next(typingctx, counter):
    """counter[0] before it is raised by one, at once for all threads (int64)."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen


def _pixel_quads(context, builder, sig, args):
    """Pointer and mask of the four channels of each of four pixels."""
    data = context.make_array(sig.args[0])(context, builder, args[0]).data
    index, stride, pixels, channels = (context.cast(builder, args[k], sig.args[k], types.intp) for k in (1, 2, 3, 4))
    word = ir.IntType(64)
    for pixel in range(4):
        at = builder.add(index, builder.mul(stride, ir.Constant(word, pixel)))
        pointer = builder.bitcast(builder.gep(data, [at]), _QUAD.as_pointer())
        inside = builder.icmp_signed("<", ir.Constant(word, pixel), pixels)
        count = builder.select(inside, channels, ir.Constant(word, 0))
        counts = ir.VectorType(word, 4)
        single = builder.insert_element(ir.Constant(counts, ir.Undefined), count, ir.Constant(_INDEX, 0))
        wide = builder.shuffle_vector(single, ir.Constant(counts, ir.Undefined), ir.Constant(ir.VectorType(_INDEX, 4), [0] * 4))
        yield pointer, builder.icmp_signed("<", ir.Constant(counts, [0, 1, 2, 3]), wide)


def _lanes_of(builder, x, y, picks):
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INDEX, len(picks)), list(picks)))


def _pairwise(builder, x, y):
    """Sums of neighbouring lanes; in every four lanes two of x, then two of y."""
    even = [group + lane + LANES * side for group in range(0, LANES, 4) for side in (0, 1) for lane in (0, 2)]
    return builder.fadd(_lanes_of(builder, x, y, even), _lanes_of(builder, x, y, [lane + 1 for lane in even]))
