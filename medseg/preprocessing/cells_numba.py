"""`cells.choose_planes` for large volumes on a CPU, in loops that numba compiles; imported only where they run.

Logits lie in memory output after output, so whatever needs all outputs of one voxel, as a cell of mixed answers does,
reads from as many distant places. The voxels that such cells read are therefore copied first, a row at a time, so that
the outputs of a voxel lie side by side; all that follows runs along the outputs, where the CPU computes many at once.
Operations and their order are those of `cells`, so the answers are equal to the bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numba.extending
import numpy as np
import torch
from llvmlite import ir
from numpy.typing import NDArray

from medseg.core.labels import Labels
from medseg.core.machine.compiling import compiled
from medseg.preprocessing.interpolate import Resize
from medseg.preprocessing.windows import Window

_BLOCK = 4096  # voxels whose largest logits (16 KB) stay in the processor's first cache
_LANES = 16  # float32 numbers that a processor handles at once: outputs are filled up to a multiple
_NOWHERE = 1 << 30  # larger than the number of any output
_NEVER = np.float32(-1e38)  # the logit of an output that is only filled up: it loses, and sums with it stay finite


def choose_planes(window: Window, planes: range, resize: Resize, labels: Labels) -> NDArray[np.int16]:
    """Return the answers (planes, y, x) of `cells.choose_planes`, equal to the bit; for logits on a CPU.

    Args:
        window: planes of the network's grid.
        planes: numbers of the new planes.
        resize: from the network's grid to the new one; it has to be convex.
        labels: say which structure wins.
    """
    logits = window.logits[labels.first_answer :] if labels.activation == "softmax" else window.logits
    logits = logits if logits.stride(3) == 1 else logits.contiguous()
    lines = (resize.reads(0).part(planes, window.first), resize.reads(1), resize.reads(2))
    reads = tuple((line.lower, line.upper, line.share) for line in lines)
    chosen = np.empty((len(planes), *resize.size[1:]), np.int16)
    _choose((_flat(logits), logits.stride()[:3], tuple(logits.shape)), reads, labels.activation == "softmax", chosen)
    return chosen + np.int16(1) if labels.first_answer else chosen


def _flat(logits: torch.Tensor) -> NDArray:
    """Return the memory of the logits as one line that begins with the first; half-precision numbers as their bits.

    numba has no half-precision types: int16 stands for float16, uint16 for bfloat16.
    """
    extent = 1 + sum((size - 1) * stride for size, stride in zip(logits.shape, logits.stride(), strict=True))
    line = torch.as_strided(logits, (extent,), (1,))
    match logits.dtype:
        case torch.float16:
            return line.view(torch.int16).numpy()
        case torch.bfloat16:
            return line.view(torch.int16).numpy().view(np.uint16)
        case _:
            return line.numpy()


def _generate_to_float(_: Any, value: Any) -> Any:
    """Return code that makes float32 of a stored logit: int16 holds the bits of a float16, uint16 of a bfloat16."""

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (bits,) = arguments
        if signature.args[0] == numba.types.int16:
            return builder.fpext(builder.bitcast(bits, ir.HalfType()), ir.FloatType())
        if signature.args[0] == numba.types.uint16:
            wide = builder.zext(bits, ir.IntType(32))
            return builder.bitcast(builder.shl(wide, ir.Constant(ir.IntType(32), 16)), ir.FloatType())
        return bits

    return numba.types.float32(value), generate


def _generate_larger(_: Any, first: Any, second: Any) -> Any:
    """Return code for the larger of two numbers that are not NaN.

    The compiler turns a search for the largest into vector instructions only if the flags promise that.
    """

    def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flags = ("nnan", "nsz")
        return builder.select(builder.fcmp_ordered(">", *arguments, flags=flags), *arguments, flags=flags)

    return numba.types.float32(first, second), generate


_to_float: Any = numba.extending.intrinsic(_generate_to_float)
_larger: Any = numba.extending.intrinsic(_generate_larger)

# In the loops below `logits` is three things: the line of memory; the distances in it between outputs, planes and rows;
# the numbers of outputs, planes, rows and columns. A line of `Reads` is (lower, upper, share).


@compiled
def _know(logits: Any, plane: int, softmax: bool, top: NDArray[np.float32], known: NDArray[np.int16]) -> None:
    """Write the answer at every voxel of a plane of the network's grid into `known`, row after row."""
    flat, strides, sizes = logits
    length = sizes[2] * sizes[3] if strides[2] == sizes[3] else sizes[3]
    for first in range(0, known.size, length):
        start = plane * strides[1] + first // sizes[3] * strides[2]
        for left in range(0, length, top.size):
            answer = known[first + left : first + min(left + top.size, length)]
            answer[:] = 0
            top[:] = -np.inf
            for output in range(sizes[0]):
                line = flat[start + left + output * strides[0] :]
                if softmax:
                    for i in range(answer.size):
                        value = _to_float(line[i])
                        better = value > top[i]
                        top[i] = value if better else top[i]
                        answer[i] = np.int16(output) if better else answer[i]
                else:
                    for i in range(answer.size):
                        answer[i] = np.int16(output + 1) if _to_float(line[i]) > 0 else answer[i]


@compiled
def _agree(first: Any, second: Any, third: Any, fourth: Any, agreed: NDArray[np.int16]) -> Any:
    """Write into `agreed` where four rows of answers agree, else MIXED; return whether one answer fills the row."""
    uniform = True
    for i in range(agreed.size):
        same = (first[i] == second[i]) & (first[i] == third[i]) & (first[i] == fourth[i])
        agreed[i] = first[i] if same else np.int16(-1)
        uniform &= agreed[i] == agreed[0]
    return uniform and agreed[0] >= 0


@compiled
def _spread(agreed: NDArray[np.int16], x: Any, answer: NDArray[np.int16], needed: NDArray[np.bool_]) -> Any:
    """Spread a row of the network's answers to the new voxels, and mark in `needed` the columns that MIXED ones read.

    Returns the number of MIXED voxels.
    """
    lower, upper, _ = x
    mixed = 0
    for i in range(answer.size):
        left, right = agreed[lower[i]], agreed[upper[i]]
        answer[i] = left if left == right else np.int16(-1)
        mixed += answer[i] < 0
    if mixed > 0:
        needed[:] = False
        for i in range(answer.size):
            if answer[i] < 0:
                needed[lower[i]] = needed[upper[i]] = True
    return mixed


@compiled
def _gather(logits: Any, row: int, z: Any, columns: NDArray[np.int64], values: NDArray[np.float32]) -> None:
    """Write the logits of some columns of a row, interpolated along z, into `values` (column, output)."""
    flat, strides, sizes = logits
    lower, upper, share = z
    rest = np.float32(1) - share
    for output in range(sizes[0]):
        start = row * strides[2] + output * strides[0]
        low, high = flat[start + lower * strides[1] :], flat[start + upper * strides[1] :]
        if share == 0:
            for i in columns:
                values[i, output] = _to_float(low[i])
        else:
            for i in columns:
                values[i, output] = _to_float(low[i]) * rest + _to_float(high[i]) * share


@compiled
def _mix(low: Any, high: Any, share: Any, values: NDArray[np.float32]) -> None:
    """Write all outputs interpolated between two voxels into `values`."""
    rest = np.float32(1) - share
    for output in range(values.size):
        values[output] = low[output] * rest + high[output] * share


@compiled
def _winner(values: NDArray[np.float32], softmax: bool) -> Any:
    """Return the answer of `Labels.choose` to the outputs of a voxel.

    For softmax two simple loops, the largest value and then the first that equals it, are faster than one that keeps
    both: the compiler makes vector instructions of each.
    """
    if not softmax:
        last: Any = np.int32(0)
        for output in range(values.size):
            here = np.int32(output + 1) if values[output] > 0 else np.int32(0)
            last = here if here > last else last
        return last
    most = values[0]
    for output in range(values.size):
        most = _larger(values[output], most)
    first: Any = np.int32(values.size)
    for output in range(values.size):
        here = np.int32(output) if values[output] == most else np.int32(_NOWHERE)
        first = here if here < first else first
    return first


@compiled
def _missing_columns(needed: NDArray[np.bool_], held: NDArray[np.int64], row: int, missing: NDArray[np.int64]) -> Any:
    """Write into `missing` the needed columns that do not hold the row yet, mark that, and return how many."""
    count = 0
    for column in range(needed.size):
        if needed[column] and held[column] != row:
            held[column] = row
            missing[count] = column
            count += 1
    return count


@compiled
def _choose(logits: Any, reads: Any, softmax: bool, chosen: NDArray[np.int16]) -> None:
    """Write the answers (planes, y, x) into `chosen`; see `choose_planes`."""
    _, _, sizes = logits
    z, y, x = reads
    width, columns = -(-sizes[0] // _LANES) * _LANES, sizes[3]
    top, values = np.empty(_BLOCK, np.float32), np.empty(width, np.float32)
    # A new voxel reads two neighbouring planes and rows. What is known of the even one is kept at index 0, of the odd
    # one at index 1, so that the next new voxel finds what it shares with the one before.
    known, known_planes = np.empty((2, sizes[2], columns), np.int16), np.empty(2, np.int64)
    rows, rows_held = np.empty((2, columns, width), np.float32), np.empty((2, columns), np.int64)
    line, agreed = np.empty((columns, width), np.float32), np.empty(columns, np.int16)
    needed, missing = np.empty(columns, np.bool_), np.empty(columns, np.int64)
    rows[:], rows_held[:], known_planes[:] = _NEVER, -1, -1
    uniform = False
    for plane in range(chosen.shape[0]):
        here = (z[0][plane], z[1][plane], z[2][plane])
        for read_plane in here[:2]:
            if known_planes[read_plane & 1] != read_plane:
                _know(logits, read_plane, softmax, top, known[read_plane & 1].reshape(-1))
                known_planes[read_plane & 1] = read_plane
        front, back = known[here[0] & 1], known[here[1] & 1]
        for row in range(chosen.shape[1]):
            answer, up, down = chosen[plane, row], y[0][row], y[1][row]
            if row == 0 or up != y[0][row - 1] or down != y[1][row - 1]:
                uniform = _agree(front[up], front[down], back[up], back[down], agreed)
            if uniform:
                answer[:] = agreed[0]
                continue
            if _spread(agreed, x, answer, needed) == 0:
                continue
            for read_row in (up, down):
                # rows are interpolated along z for the new plane, so another plane's row is another row
                count = _missing_columns(needed, rows_held[read_row & 1], plane * sizes[2] + read_row, missing)
                _gather(logits, read_row, here, missing[:count], rows[read_row & 1])
            for column in range(columns):
                if needed[column]:
                    _mix(rows[up & 1, column], rows[down & 1, column], y[2][row], line[column])
            for i in range(answer.size):
                if answer[i] < 0:
                    _mix(line[x[0][i]], line[x[1][i]], x[2][i], values)
                    winner = _winner(values, softmax)
                    answer[i] = winner if winner <= sizes[0] - softmax else 0  # of NaN none is the largest: background
