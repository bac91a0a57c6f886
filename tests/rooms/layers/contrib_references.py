"""One step of the cells of ``tf.contrib.rnn`` in NumPy, from the equations of their papers and of TensorFlow 1.15.

``reference(cell, inputs, state)`` returns ``(output, new_state)``; of ``cell`` only fields are read.
"""

import itertools
from typing import Any

import numpy as np
from rooms.layers.cell_table import sigmoid

from jnnops.layers import LSTMStateTuple

Array = Any


def ugrnn(cell: Any, x: Array, h: Array) -> Any:
    units = h.shape[1]
    pre = np.hstack([x, h]) @ cell.kernel + cell.bias
    gate, candidate = sigmoid(pre[:, :units] + cell.forget_bias), np.tanh(pre[:, units:])
    h = gate * h + (1 - gate) * candidate
    return h, h


def intersection_rnn(cell: Any, x: Array, h: Array) -> Any:
    units = h.shape[1]
    if cell.in_projection_kernel is not None:
        x = x @ cell.in_projection_kernel + cell.in_projection_bias
    pre = np.hstack([x, h]) @ cell.kernel + cell.bias
    time, state, depth, output = (pre[:, k * units : (k + 1) * units] for k in range(4))
    time, depth = sigmoid(time + cell.forget_bias), sigmoid(depth + cell.forget_bias)
    return depth * x + (1 - depth) * np.maximum(output, 0), time * h + (1 - time) * np.tanh(state)


def nas(cell: Any, x: Array, state: Any) -> Any:
    c, m = state
    units = c.shape[1]
    of_x, of_m = x @ cell.kernel, m @ cell.recurrent_kernel
    if cell.bias is not None:
        of_m = of_m + cell.bias

    def node(k: int, join: Any, activation: Any) -> Array:
        columns = slice(k * units, (k + 1) * units)
        return activation(join(of_x[:, columns], of_m[:, columns]))

    def relu(x: Array) -> Array:
        return np.maximum(x, 0)

    add, multiply, tanh = np.add, np.multiply, np.tanh
    first = tanh(tanh(node(0, add, sigmoid) * node(1, add, relu)) + c)
    second = tanh(node(2, add, sigmoid) + node(3, multiply, relu))
    third = tanh(node(4, add, tanh) * node(5, add, sigmoid))
    fourth = sigmoid(node(6, add, tanh) + node(7, add, sigmoid))
    c = first * second
    m = tanh(c * tanh(third + fourth))
    if cell.projection_weights is not None:
        m = m @ cell.projection_weights
    return m, LSTMStateTuple(c, m)


def sru(cell: Any, x: Array, c: Array) -> Any:
    units = c.shape[1]
    w, w_f, w_r, w_bypass = (cell.kernel[:, k * units : (k + 1) * units] for k in range(4))
    f, r = sigmoid(x @ w_f + cell.bias[:units]), sigmoid(x @ w_r + cell.bias[units:])
    c = f * c + (1 - f) * (x @ w)
    return r * np.tanh(c) + (1 - r) * (x @ w_bypass), c


def phased_lstm(cell: Any, inputs: Any, state: Any) -> Any:
    (time, x), (c, h) = inputs, state
    units = c.shape[1]
    peepholes = cell.mask_gates_kernel.shape[0] == x.shape[1] + 2 * units

    def gates(kernel: Array, bias: Array, memory: Array) -> Array:
        return sigmoid(np.hstack([x, h, memory] if peepholes else [x, h]) @ kernel + bias)

    mask = gates(cell.mask_gates_kernel, cell.mask_gates_bias, c)
    proposal = np.tanh(np.hstack([x, h]) @ cell.new_input_kernel + cell.new_input_bias)
    new_c = mask[:, units:] * c + mask[:, :units] * proposal
    new_h = gates(cell.output_gate_kernel, cell.output_gate_bias, new_c) * np.tanh(new_c)
    k = np.zeros_like(c)
    for row, unit in itertools.product(range(c.shape[0]), range(units)):
        phi, ratio = cycle(time[row, 0], cell.phase[unit], cell.period[unit]), cell.ratio_on[unit]
        if phi < ratio / 2:
            k[row, unit] = 2 * phi / ratio
        elif phi < ratio:
            k[row, unit] = 2 - 2 * phi / ratio
        else:
            k[row, unit] = cell.leak * phi
    c, h = k * new_c + (1 - k) * c, k * new_h + (1 - k) * h
    return h, LSTMStateTuple(c, h)


def cycle(time: float, phase: float, period: float) -> float:
    """Of a period in multiples of 1/16, which the remainder does not see change by less: its derivative is 0."""
    shifted, fixed = time - phase, np.round(16 * period) / 16
    return (shifted - fixed * np.floor(shifted / fixed)) / period


def conv_lstm(cell: Any, x: Array, state: Any) -> Any:
    c, h = state
    channels = c.shape[-1]
    pre = convolve(np.concatenate([x, h], -1), cell.kernel)
    if cell.biases is not None:
        pre = pre + cell.biases
    i, j, f, o = (pre[..., k * channels : (k + 1) * channels] for k in range(4))
    c = sigmoid(f + cell.forget_bias) * c + sigmoid(i) * np.tanh(j)
    h = sigmoid(o) * np.tanh(c)
    return np.concatenate([h, x], -1) if cell.skip_connection else h, LSTMStateTuple(c, h)


def convolve(x: Array, kernel: Array) -> Array:
    """Padding SAME with stride 1: for an even window one cell more behind than before."""
    *window, in_channels, out_channels = kernel.shape
    padded = np.pad(x, [(0, 0), *(((size - 1) // 2, size // 2) for size in window), (0, 0)])
    y = np.zeros((*x.shape[:-1], out_channels))
    for tap in itertools.product(*map(range, window)):
        places = tuple(slice(first, first + cells) for first, cells in zip(tap, x.shape[1:-1], strict=True))
        y += padded[(slice(None), *places, slice(in_channels))] @ kernel[tap]
    return y


def time_freq_lstm(cell: Any, x: Array, state: Array) -> Any:
    units = cell.b.shape[0] // 4
    size = cell.w.shape[0] - 2 * units
    zero = np.zeros(units)
    w_f, w_i, w_o = (zero if w is None else w for w in (cell.w_f_diag, cell.w_i_diag, cell.w_o_diag))
    m_below, outputs, states = np.zeros((x.shape[0], units)), [], []
    for block in range((x.shape[1] - size) // cell.frequency_skip + 1):
        first = block * cell.frequency_skip
        c, m = (state[:, (2 * block + k) * units : (2 * block + k + 1) * units] for k in range(2))
        pre = np.hstack([x[:, first : first + size], m, m_below]) @ cell.w + cell.b
        i, j, f, o = (pre[:, k * units : (k + 1) * units] for k in range(4))
        c = clipped(sigmoid(f + cell.forget_bias + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(j), cell.cell_clip)
        m_below = sigmoid(o + w_o * c) * np.tanh(c)
        outputs.append(m_below)
        states += [c, m_below]
    return np.hstack(outputs), np.hstack(states)


def clipped(x: Array, limit: float | None) -> Array:
    return x if limit is None else np.minimum(np.maximum(x, -limit), limit)


def grid_lstm(cell: Any, x: Array, state: Array) -> Any:
    units = cell.b_f[0].shape[0] // (3 if cell.couple_input_forget_gates else 4)
    size = cell.w_f[0].shape[0] - 2 * units
    outputs, states, blocks_before = [], [], 0
    for group, count in enumerate(cell.num_frequency_blocks):
        start = 0 if cell.start_freqindex_list is None else cell.start_freqindex_list[group]
        c_f = m_f = np.zeros((x.shape[0], units))
        for block in range(count):
            first = start + block * cell.frequency_skip
            column = 2 * (blocks_before + block) * units
            c_t, m_t = state[:, column : column + units], state[:, column + units : column + 2 * units]
            operands = np.hstack([x[:, first : first + size], m_t, m_f])
            new_c_f, o_f = grid_memory(cell, group, "freq", operands, c_f, c_t, c_f)
            new_c_t, o_t = grid_memory(cell, group, "time", operands, c_f, c_t, c_t)
            c_f = new_c_f
            m_f = sigmoid(o_f + grid_peepholes(cell, group, "freq", "o", new_c_f, new_c_t)) * np.tanh(new_c_f)
            m_t = sigmoid(o_t + grid_peepholes(cell, group, "time", "o", new_c_f, new_c_t)) * np.tanh(new_c_t)
            outputs += [m_t, m_f]
            states += [new_c_t, m_t]
        blocks_before += count
    return np.hstack(outputs), np.hstack(states)


def grid_memory(cell: Any, group: int, lstm: str, operands: Array, c_f: Array, c_t: Array, old: Array) -> Any:
    """The new memory, and the output gate without its peepholes."""
    kernels, biases = (cell.w_f, cell.b_f) if lstm == "freq" or cell.w_t is None else (cell.w_t, cell.b_t)
    pre, units = operands @ kernels[group] + biases[group], c_f.shape[1]
    columns = [pre[:, first : first + units] for first in range(0, pre.shape[1], units)]
    i = sigmoid(columns[0] + grid_peepholes(cell, group, lstm, "i", c_f, c_t))
    if cell.couple_input_forget_gates:
        f = 1 - i
    else:
        f = sigmoid(columns[2] + cell.forget_bias + grid_peepholes(cell, group, lstm, "f", c_f, c_t))
    return clipped(f * old + i * np.tanh(columns[1]), cell.cell_clip), columns[-1]


def grid_peepholes(cell: Any, group: int, lstm: str, gate: str, c_f: Array, c_t: Array) -> Array:
    if cell.w_i_diag_freqf is None:
        return 0.0
    lstm = "freq" if cell.w_t is None else lstm
    of_f, of_t = (getattr(cell, f"w_{gate}_diag_{lstm}{memory}")[group] for memory in "ft")
    return of_f * c_f + of_t * c_t
