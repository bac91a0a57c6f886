"""The grid LSTM over time and frequency."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jnnops._check import (
    as_dtype,
    as_float_arrays,
    as_key,
    as_size,
    as_static_bool,
    as_static_float,
    as_static_ints,
    check_rank,
    check_shape,
    draw,
)
from jnnops._primitives.varying import vary_with
from jnnops._types import Initializer, Key
from jnnops.layers._layer import GLOROT_UNIFORM, layer, static
from jnnops.layers.cells._gates import (
    add_bias,
    add_peephole,
    as_limit,
    clip,
    count_blocks,
    frequency_blocks,
    join_blocks,
    split_state,
)
from jnnops.layers.cells._step import as_sizes, zero_state
from jnnops.recurrent._gates import product

# A weight of each group of frequencies.
Weights: TypeAlias = tuple[jax.Array, ...]

_PEEPHOLES = tuple(f"w_{gate}_diag_{lstm}{of}" for gate in "fio" for lstm in ("freq", "time") for of in "ft")


@layer
class GridLSTMCell:
    r"""The grid LSTM in two dimensions: an LSTM over time and one over frequency, which see both outputs.

    For the blocks :math:`k = 0, 1, \dots` of ``feature_size`` inputs, each ``frequency_skip`` after the one before,
    and both LSTMs :math:`d`, of time and of frequency, whose memories before are :math:`c^t_k` and :math:`c^f_{k-1}`,

    .. math::
        i^d, j^d, f^d, o^d &= [x_k, m^t_k, m^f_{k-1}] W_d + B_d \\
        c'^d &= \sigma(f^d + \text{forget\_bias} + w^{df}_f c^f_{k-1} + w^{dt}_f c^t_k)\, c^d
            + \sigma(i^d + w^{df}_i c^f_{k-1} + w^{dt}_i c^t_k) \tanh(j^d) \\
        m'^d &= \sigma(o^d + w^{df}_o c'^f + w^{dt}_o c'^t) \tanh(c'^d)

    where :math:`c^f_{-1} = m^f_{-1} = 0`; what the LSTM of frequency returns is what the next block has before, and
    what that of time returns is the next state. The terms with :math:`w` are there only if there are peepholes.

    Inputs may fall into groups of frequencies, each with weights of its own: every weight is a tuple with one array for
    each group. The name of a weight is TensorFlow's in lower case, less the number of the group at its end.

    Attributes:
        w_f: ``[feature_size + 2 num_units, 4 num_units]``: the kernel of the LSTM of frequency, its gates in the order
            input, new input, forget, output; without forget, ``3 num_units``, if gates are coupled.
        b_f: ``[4 num_units]``, or ``[3 num_units]``: its bias.
        w_t: The kernel of the LSTM of time, likewise; None if both share their weights.
        b_t: Its bias.
        w_f_diag_freqf: ``[num_units]``: the forget gate of the LSTM of frequency sees the memory of frequency; None, as
            all that follow, for a cell without peepholes.
        w_f_diag_freqt: The same gate sees the memory of time.
        w_f_diag_timef: The forget gate of the LSTM of time sees the memory of frequency.
        w_f_diag_timet: The same gate sees the memory of time.
        w_i_diag_freqf: As ``w_f_diag_freqf``, for the input gate.
        w_i_diag_freqt: Likewise.
        w_i_diag_timef: Likewise.
        w_i_diag_timet: Likewise.
        w_o_diag_freqf: As ``w_f_diag_freqf``, for the output gate, which sees the new memories.
        w_o_diag_freqt: Likewise.
        w_o_diag_timef: Likewise.
        w_o_diag_timet: Likewise.
        num_frequency_blocks: The number of blocks of each group.
        start_freqindex_list: Where each group starts; None for one group of all inputs.
        end_freqindex_list: Where each group ends.
        frequency_skip: From one block to the next.
        forget_bias: Added to the forget gates, so that a new cell remembers.
        cell_clip: The memories are clipped to ``[-cell_clip, cell_clip]``, unless None; at the limits they have a
            gradient.
        couple_input_forget_gates: Whether the forget gates are 1 less the input gates.

    Note:
        The state is one array, with the memory and the output of each block in TensorFlow's order; TensorFlow's own
        state of one array (``state_is_tuple=False``) reads the first group's for every group.

    Example:
        >>> cell = nn.layers.GridLSTMCell.init(8, 3, feature_size=4, frequency_skip=2, key=jax.random.key(0))
        >>> output, state = cell(jnp.ones((2, 8)), cell.zero_state(2, jnp.float32))
        >>> output.shape, state.shape
        ((2, 18), (2, 18))

    References:
        ``tf.contrib.rnn.GridLSTMCell`` of TensorFlow 1.15. Kalchbrenner et al., "Grid Long Short-Term Memory", 2016.
        Sainath and Li, "Modeling Time-Frequency Patterns with LSTM vs. Convolutional Architectures for LVCSR Tasks",
        2016.
    """

    w_f: Weights
    b_f: Weights
    w_t: Weights | None = None
    b_t: Weights | None = None
    w_f_diag_freqf: Weights | None = None
    w_f_diag_freqt: Weights | None = None
    w_f_diag_timef: Weights | None = None
    w_f_diag_timet: Weights | None = None
    w_i_diag_freqf: Weights | None = None
    w_i_diag_freqt: Weights | None = None
    w_i_diag_timef: Weights | None = None
    w_i_diag_timet: Weights | None = None
    w_o_diag_freqf: Weights | None = None
    w_o_diag_freqt: Weights | None = None
    w_o_diag_timef: Weights | None = None
    w_o_diag_timet: Weights | None = None
    num_frequency_blocks: tuple[int, ...] = static()
    start_freqindex_list: tuple[int, ...] | None = static(default=None)
    end_freqindex_list: tuple[int, ...] | None = static(default=None)
    frequency_skip: int = static()
    forget_bias: float = static(default=1.0)
    cell_clip: float | None = static(default=None)
    couple_input_forget_gates: bool = static(default=False)

    @classmethod
    def init(
        cls,
        in_features: int,
        num_units: int,
        *,
        feature_size: int,
        frequency_skip: int,
        num_frequency_blocks: Sequence[int] | None = None,
        start_freqindex_list: Sequence[int] | None = None,
        end_freqindex_list: Sequence[int] | None = None,
        use_peepholes: bool = False,
        share_time_frequency_weights: bool = False,
        couple_input_forget_gates: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 1.0,
        kernel_init: Initializer = GLOROT_UNIFORM,
        dtype: DTypeLike = jnp.float32,
        key: Key,
    ) -> "GridLSTMCell":
        """Draws a new cell, with biases of 0.

        Args:
            in_features: Width of the inputs.
            num_units: Width of the outputs and of both parts of the state, for each block.
            feature_size: Width of a block.
            frequency_skip: From one block to the next.
            num_frequency_blocks: The number of blocks of each group, which follows from the other sizes: given, it
                must be right.
            start_freqindex_list: Where each group of inputs starts; one group of all inputs unless given.
            end_freqindex_list: Where each group ends.
            use_peepholes: Whether the gates see the memories.
            share_time_frequency_weights: Whether both LSTMs have the same weights.
            couple_input_forget_gates: Whether the forget gates are 1 less the input gates.
            cell_clip: The memories are clipped to ``[-cell_clip, cell_clip]``, unless None.
            forget_bias: Added to the forget gates.
            kernel_init: ``kernel_init(key, shape, dtype)`` returns a matrix of weights, as ``jax.nn.initializers`` do;
                uniform as in Glorot and Bengio, 2010, unless given.
            dtype: Of the arrays.
            key: A ``jax.random`` key.

        Returns:
            The cell.

        Raises:
            TypeError: If a size is no integer, or ``key`` no key.
            ValueError: If a size is below 1, a group is not within the inputs or below ``feature_size``, the lists
                differ in length, ``num_frequency_blocks`` is wrong, or ``cell_clip`` is below 0.
        """
        op = "GridLSTMCell.init"
        width, units = as_sizes(op, in_features, num_units)
        size, skip = as_size(op, "feature_size", feature_size), as_size(op, "frequency_skip", frequency_skip)
        starts, ends = _as_groups(op, width, size, start_freqindex_list, end_freqindex_list)
        counts = tuple(count_blocks(end - start, size, skip) for start, end in zip(starts, ends, strict=True))
        if num_frequency_blocks is not None:
            given = as_static_ints(op, "num_frequency_blocks", num_frequency_blocks)
            if given != counts:
                raise ValueError(f"{op}: `num_frequency_blocks` must be {counts} for these sizes, got {given}")
        coupled = as_static_bool(op, "couple_input_forget_gates", couple_input_forget_gates)
        shared = as_static_bool(op, "share_time_frequency_weights", share_time_frequency_weights)
        columns = (3 if coupled else 4) * units
        shapes = {"w_f": (size + 2 * units, columns), "b_f": (columns,)}
        if not shared:
            shapes |= {"w_t": shapes["w_f"], "b_t": shapes["b_f"]}
        if as_static_bool(op, "use_peepholes", use_peepholes):
            shapes |= dict.fromkeys(_peepholes(shared, coupled), (units,))
        dtype = as_dtype(op, "dtype", dtype, floating=True)
        new = functools.partial(_draw, op, kernel_init, dtype)
        keys = jax.random.split(as_key(op, key), (len(shapes), len(counts)))
        return cls(
            **{name: tuple(new(name, shape, key) for key in keys[i]) for i, (name, shape) in enumerate(shapes.items())},
            num_frequency_blocks=counts,
            start_freqindex_list=None if start_freqindex_list is None else starts,
            end_freqindex_list=None if start_freqindex_list is None else ends,
            frequency_skip=skip,
            forget_bias=as_static_float(op, "forget_bias", forget_bias),
            cell_clip=as_limit(op, "cell_clip", cell_clip),
            couple_input_forget_gates=coupled,
        )

    @property
    def num_units(self) -> int:
        """The width of the outputs and of both parts of the state, for each block."""
        return self.b_f[0].shape[-1] // (3 if self.couple_input_forget_gates else 4)

    @property
    def feature_size(self) -> int:
        """The width of a block."""
        return self.w_f[0].shape[0] - 2 * self.num_units

    @property
    def output_size(self) -> int:
        """The width of the output: for each block ``num_units`` of the LSTM of time, then those of frequency."""
        return 2 * self.num_units * sum(self.num_frequency_blocks)

    @property
    def state_size(self) -> int:
        """The width of the state: for each block ``num_units`` of memory of the LSTM of time, then its output."""
        return self.output_size

    def zero_state(self, batch_size: int, dtype: DTypeLike = jnp.float32) -> jax.Array:
        """Zeros ``[batch_size, state_size]``."""
        return zero_state("GridLSTMCell", batch_size, self.state_size, dtype)

    def __call__(self, inputs: ArrayLike, state: ArrayLike) -> tuple[jax.Array, jax.Array]:
        """Returns ``(output, new_state)``: the outputs of both LSTMs for all blocks, and the state of that of time."""
        op = "GridLSTMCell"
        _check_structure(op, self)
        leaves, structure = jax.tree.flatten(self)
        names = [f"{name}_{group}" for name in _names(self) for group in range(len(self.num_frequency_blocks))]
        x, state, *leaves = as_float_arrays(op, inputs=inputs, state=state, **dict(zip(names, leaves, strict=True)))
        check_rank(op, "inputs", x, 2)
        _check_weights(op, self, dict(zip(names, leaves, strict=True)))
        _check_width(op, self, x.shape)
        blocks = sum(self.num_frequency_blocks)
        check_shape(op, "state", state, (x.shape[0], self.state_size), f"{blocks} blocks of [batch, 2 units]")
        return _grid(structure.unflatten(leaves), x, state)


def _names(cell: GridLSTMCell) -> list[str]:
    """The fields with weights, in the order of the leaves."""
    fields = [field.name for field in dataclasses.fields(cell) if not field.metadata.get("static")]  # pyright: ignore
    return [name for name in fields if getattr(cell, name) is not None]


def _peepholes(shared: bool, coupled: bool) -> list[str]:
    return [name for name in _PEEPHOLES if not (shared and "_time" in name) and not (coupled and "w_f_" in name)]


def _draw(op: str, init: Initializer, dtype: Any, name: str, shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    if name.startswith("b"):
        return jnp.zeros(shape, dtype)
    # A peephole is a row of a square matrix: TensorFlow too takes a vector's length for both of its fans.
    matrix = draw(op, "kernel_init", init, key, (*shape, *shape)[:2] if len(shape) == 1 else shape, dtype)
    return matrix[0] if len(shape) == 1 else matrix


def _as_groups(op: str, width: int, size: int, starts: Any, ends: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the groups of frequencies start and end."""
    if (starts is None) != (ends is None):
        name, other = ("start", "end") if starts is None else ("end", "start")
        raise ValueError(f"{op}: `{name}_freqindex_list` must be given with `{other}_freqindex_list`, got None")
    if starts is None:
        if size > width:
            raise ValueError(f"{op}: `feature_size` must be at most in_features = {width}, got {size}")
        return (0,), (width,)
    starts = as_static_ints(op, "start_freqindex_list", starts, minimum=0)
    ends = as_static_ints(op, "end_freqindex_list", ends)
    if len(starts) != len(ends) or not starts:
        message = f"must have as many ints as `start_freqindex_list`, {len(starts)}, and one at least"
        raise ValueError(f"{op}: `end_freqindex_list` {message}, got {ends}")
    for start, end in zip(starts, ends, strict=True):
        if not start + size <= end <= width:
            message = f"must be from {size} (feature_size) after each start, of {starts}, to in_features = {width}"
            raise ValueError(f"{op}: `end_freqindex_list` {message}, got {ends}")
    return starts, ends


def _check_structure(op: str, cell: GridLSTMCell) -> None:
    """Raises unless the weights are those of one kind of cell, and each is a tuple with one for each group."""
    if (cell.w_t is None) != (cell.b_t is None):
        raise ValueError(f"{op}: `w_t` and `b_t` must be given together, got only one of them")
    names, groups = _names(cell), len(cell.num_frequency_blocks)
    given = [name for name in names if name in _PEEPHOLES]
    wanted = _peepholes(cell.w_t is None, cell.couple_input_forget_gates)
    if given and given != wanted:
        raise ValueError(f"{op}: peepholes must be given together, {wanted} for this cell, got {given}")
    for name in names:
        weights = getattr(cell, name)
        if not isinstance(weights, tuple) or len(weights) != groups:
            raise ValueError(f"{op}: `{name}` must be a tuple with an array for each of {groups} groups of frequencies")


def _check_weights(op: str, cell: GridLSTMCell, weights: dict[str, jax.Array]) -> None:
    units, rows = cell.num_units, cell.w_f[0].shape[0]
    columns = (3 if cell.couple_input_forget_gates else 4) * units
    shapes = {"w_f": (rows, columns), "w_t": (rows, columns), "b_f": (columns,), "b_t": (columns,)}
    for name, weight in weights.items():
        shape = shapes.get(name.rpartition("_")[0], (units,))
        check_shape(op, name, weight, shape, f"{units} units, as `b_f` of the first group has")


def _check_width(op: str, cell: GridLSTMCell, shape: tuple[int, ...]) -> None:
    """Raises unless the inputs have all blocks and, in a single group, no more than these."""
    starts = cell.start_freqindex_list or (0,)
    size, skip = cell.feature_size, cell.frequency_skip
    needed = max(start + (n - 1) * skip for start, n in zip(starts, cell.num_frequency_blocks, strict=True)) + size
    if shape[1] < needed or (cell.start_freqindex_list is None and shape[1] >= needed + skip):
        upper = f" to {needed + skip - 1}" if cell.start_freqindex_list is None else " or more"
        message = f"must have {needed}{upper} columns for {cell.num_frequency_blocks} blocks"
        raise ValueError(f"{op}: `inputs` {message}, got shape {shape}")


class _LSTM(NamedTuple):
    """The weights of one of the two LSTMs in one group: peepholes of the memory of frequency and of that of time."""

    w: jax.Array
    b: jax.Array
    forget: tuple[jax.Array | None, jax.Array | None]
    input: tuple[jax.Array | None, jax.Array | None]
    output: tuple[jax.Array | None, jax.Array | None]


def _lstm_of(cell: GridLSTMCell, group: int, kernel: str, bias: str, lstm: str) -> _LSTM:
    def weight(name: str) -> Any:
        weights = getattr(cell, name)
        return None if weights is None else weights[group]

    peepholes = ((weight(f"w_{gate}_diag_{lstm}f"), weight(f"w_{gate}_diag_{lstm}t")) for gate in "fio")
    return _LSTM(weight(kernel), weight(bias), *peepholes)


@jax.jit
def _grid(cell: GridLSTMCell, inputs: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    counts, starts = cell.num_frequency_blocks, cell.start_freqindex_list or (0,)
    outputs, states, column = [], [], 0
    for group, (count, start) in enumerate(zip(counts, starts, strict=True)):
        blocks = frequency_blocks(inputs, start, count, cell.feature_size, cell.frequency_skip)
        columns = 2 * count * cell.num_units
        output, new_state = _run_group(cell, group, blocks, state[:, column : column + columns])
        column += columns
        outputs.append(output)
        states.append(new_state)
    return jnp.concatenate(outputs, axis=-1), jnp.concatenate(states, axis=-1)


def _run_group(cell: GridLSTMCell, group: int, blocks: jax.Array, state: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The blocks of one group, one after another."""
    (count, batch, _), units, dtype = blocks.shape, cell.num_units, blocks.dtype
    c_time, m_time = split_state(state, count, units)
    known = jnp.concatenate([blocks, m_time], axis=-1)
    lstms = [_lstm_of(cell, group, "w_f", "b_f", "freq")]
    if cell.w_t is not None:
        lstms.append(_lstm_of(cell, group, "w_t", "b_t", "time"))
    # What does not come from the block before is one product for all blocks.
    gates = [add_bias(product(known, lstm.w[:-units]), lstm.b) for lstm in lstms]
    # Wide outside of the loop, which sums the gradients of what its steps share in their own dtype.
    lstms = jax.tree.map(lambda weight: weight.astype(gates[0].dtype), lstms)

    def step(before: Any, block: Any) -> Any:
        (c_freq, m_freq), (gates, c_time) = before, block
        gates = [gate + product(m_freq, lstm.w[-units:].astype(dtype)) for gate, lstm in zip(gates, lstms, strict=True)]
        gates_of_freq, gates_of_time = gates[0], gates[-1]
        memories = c_freq, c_time
        c_freq, o_freq = _memory(cell, lstms[0], gates_of_freq, memories, c_freq)
        c_time, o_time = _memory(cell, lstms[-1], gates_of_time, memories, c_time)
        m_freq = _output(lstms[0], o_freq, (c_freq, c_time), c_freq).astype(dtype)
        m_time = _output(lstms[-1], o_time, (c_freq, c_time), c_time).astype(dtype)
        return (c_freq, m_freq), (c_time.astype(dtype), m_time, m_freq)

    zeros = (jnp.zeros((batch, units), gates[0].dtype), jnp.zeros((batch, units), dtype))
    first = vary_with(zeros, cell, blocks, state)
    _, (c_time, m_time, m_freq) = lax.scan(step, first, (gates, c_time.astype(gates[0].dtype)))
    return join_blocks(m_time, m_freq), join_blocks(c_time, m_time)


def _see(gate: jax.Array, weights: Any, memories: tuple[jax.Array, jax.Array]) -> jax.Array:
    for weight, memory in zip(weights, memories, strict=True):
        gate = add_peephole(gate, weight, memory)
    return gate


def _memory(
    cell: GridLSTMCell, lstm: _LSTM, gates: jax.Array, memories: tuple[jax.Array, jax.Array], old: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The new memory and, before its activation, the output gate."""
    i, j, *f, o = jnp.split(gates, 3 if cell.couple_input_forget_gates else 4, axis=-1)
    i = jax.nn.sigmoid(_see(i, lstm.input, memories))
    forget = jax.nn.sigmoid(_see(f[0], lstm.forget, memories) + cell.forget_bias) if f else 1 - i
    return clip(forget * old + i * jnp.tanh(j), cell.cell_clip), o


def _output(lstm: _LSTM, gate: jax.Array, memories: tuple[jax.Array, jax.Array], memory: jax.Array) -> jax.Array:
    return jax.nn.sigmoid(_see(gate, lstm.output, memories)) * jnp.tanh(memory)
