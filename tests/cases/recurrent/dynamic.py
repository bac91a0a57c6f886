"""Cases of ``jnnops.recurrent``, and TensorFlow's own cells with the weights of ours."""

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from machinery.case import Case, bad, integers, normal

import jnnops as nn
from jnnops.layers import BasicLSTMCell, BasicRNNCell, GRUCell, LSTMCell


def weights(cell: Any) -> dict[str, Any]:
    """The array fields of a cell."""
    fields = [field.name for field in dataclasses.fields(cell) if not field.metadata.get("static")]
    return {name: getattr(cell, name) for name in fields if getattr(cell, name) is not None}


def with_weights(cell: Any, arrays: dict[str, Any]) -> Any:
    """The cell with other arrays."""
    return dataclasses.replace(cell, **arrays)


def draw(cell: Any, seed: int = 0) -> Any:
    """The cell with float64 weights that 16 bits hold exactly, so that all dtypes compute the same function."""
    drawn = {
        name: integers(-16, 17, *array.shape, seed=seed + i) / 16.0
        for i, (name, array) in enumerate(weights(cell).items())
    }
    return with_weights(cell, drawn)


def basic_rnn(in_features: int, num_units: int, seed: int = 0, **options: Any) -> BasicRNNCell:
    return draw(BasicRNNCell.init(in_features, num_units, key=jax.random.key(0), **options), seed)


def gru(in_features: int, num_units: int, seed: int = 0, **options: Any) -> GRUCell:
    return draw(GRUCell.init(in_features, num_units, key=jax.random.key(0), **options), seed)


def basic_lstm(in_features: int, num_units: int, seed: int = 0, **options: Any) -> BasicLSTMCell:
    return draw(BasicLSTMCell.init(in_features, num_units, key=jax.random.key(0), **options), seed)


def lstm(in_features: int, num_units: int, seed: int = 0, **options: Any) -> LSTMCell:
    return draw(LSTMCell.init(in_features, num_units, key=jax.random.key(0), **options), seed)


def tf_name(name: str) -> str:
    """The attribute of TensorFlow's cells that holds a weight."""
    return "_proj_kernel" if name == "projection" else f"_{name}"


def tf_cell(tf: Any, cell: Any, dtype: Any, activation: Any = None) -> Any:
    """TensorFlow's cell of the same class, settings and weights."""
    given: dict[str, Any] = {"dtype": dtype, "activation": activation}
    if isinstance(cell, BasicLSTMCell | LSTMCell):
        given["forget_bias"] = cell.forget_bias
    if isinstance(cell, LSTMCell):
        given |= {
            "use_peepholes": cell.w_i_diag is not None,
            "num_proj": None if cell.projection is None else cell.output_size,
            "cell_clip": cell.cell_clip,
            "proj_clip": cell.proj_clip,
        }
    # tf.compat.v1.nn.rnn_cell is this module, but refuses to load beside Keras 3.
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl

    kernel = cell.candidate_kernel if isinstance(cell, GRUCell) else cell.kernel
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every one is deprecated
        made = getattr(rnn_cell_impl, type(cell).__name__)(cell.num_units, **given)
        made.build(tf.TensorShape([None, kernel.shape[0] - cell.output_size]))
    for name, array in weights(cell).items():
        setattr(made, tf_name(name), tf.constant(np.asarray(array), dtype))
    return made


def tf_dynamic_rnn(cell: Any, **options: Any) -> Any:
    """The oracle of ``dynamic_rnn`` with ``cell``."""

    def run(tf: Any, inputs: Any, **tensors: Any) -> Any:
        made = tf_cell(tf, cell, inputs.dtype)
        return tf.compat.v1.nn.dynamic_rnn(made, inputs, dtype=inputs.dtype, **tensors, **options)

    return run


def tf_bidirectional_dynamic_rnn(forward: Any, backward: Any, **options: Any) -> Any:
    """The oracle of ``bidirectional_dynamic_rnn`` with these two cells."""

    def run(tf: Any, inputs: Any, **tensors: Any) -> Any:
        made = [tf_cell(tf, cell, inputs.dtype) for cell in (forward, backward)]
        return tf.compat.v1.nn.bidirectional_dynamic_rnn(*made, inputs, dtype=inputs.dtype, **tensors, **options)

    return run


def both_ways(cell: Any, inputs: Any, sequence_length: Any = None) -> Any:
    """``bidirectional_dynamic_rnn`` with the same cell in both directions."""
    return nn.bidirectional_dynamic_rnn(cell, cell, inputs, sequence_length)


@nn.layers.layer
class InDtypeOfInputs:
    """A cell whose weights follow the inputs' dtype, as the tests of all dtypes need it."""

    cell: Any

    def zero_state(self, batch_size: int, dtype: Any) -> Any:
        return self.cell.zero_state(batch_size, dtype)

    def __call__(self, inputs: Any, state: Any) -> Any:
        return jax.tree.map(lambda weight: jnp.asarray(weight, inputs.dtype), self.cell)(inputs, state)


def in_dtype_of_inputs(cell: Any) -> InDtypeOfInputs:
    """The cell with weights in float32, which holds them exactly.

    A program with float64 constants of NumPy that was traced under jax_enable_x64 cannot be lowered without it (JAX
    0.10 and 0.12), and the tests of a case do both.
    """
    return InDtypeOfInputs(cell=with_weights(cell, {name: w.astype(np.float32) for name, w in weights(cell).items()}))


INPUTS = normal(3, 4, 2)
LENGTHS = np.array([2, 4, 0], np.int32)
RNN = basic_rnn(2, 3)
BACKWARD_RNN = basic_rnn(2, 2, seed=5)
LSTM = basic_lstm(2, 3)
BAD_INPUTS = (
    bad("`inputs` must be of rank at least 2, got shape", inputs=np.zeros(3)),
    bad(r"`inputs\['b'\]` must be an array, got str", TypeError, inputs={"a": np.zeros((3, 4)), "b": "text"}),
    bad("`inputs` must hold an array, got None", inputs=None),
    bad(
        r"`inputs` must agree in their first two dimensions, got shapes \[\(3, 4, 2\), \(3, 5\)\]",
        inputs={"a": np.zeros((3, 4, 2)), "b": np.zeros((3, 5))},
    ),
    bad("`sequence_length` must be an integer array, got float32", TypeError, sequence_length=np.ones(3, np.float32)),
    bad("`sequence_length` must be of rank 1, got shape", sequence_length=2),
    bad(r"`sequence_length` must have shape \(3,\) \(one for each row .* got \(2,\)", sequence_length=[1, 2]),
    bad("`unroll` must be at least 1, got 0", unroll=0),
)

# One case for each structure of state, since second derivatives of loops are slow to compile; test_recurrent.py
# compares the other cells, layouts and options with TensorFlow.
CASES = [
    Case(
        nn.dynamic_rnn,
        {"inputs": INPUTS, "sequence_length": LENGTHS, "initial_state": normal(3, 3)},
        {"cell": in_dtype_of_inputs(RNN)},
        oracle=tf_dynamic_rnn(RNN),
        batched=("inputs", "sequence_length", "initial_state"),
        ulps=4,
        bad=(
            *BAD_INPUTS,
            bad("`cell` must be callable", TypeError, cell=3),
            bad("`cell` must have a method zero_state.* got builtin", TypeError, cell=max, initial_state=None),
            bad(r"`initial_state` must have shapes \[3, ...\] .* got \(2, 3\)", initial_state=np.zeros((2, 3))),
            bad("`dtype` must be given", inputs=np.zeros((3, 4), np.int32), initial_state=None),
        ),
    ),
    Case(
        nn.dynamic_rnn,
        {"inputs": INPUTS, "sequence_length": LENGTHS},
        {"cell": in_dtype_of_inputs(LSTM)},
        label="lstm",
        oracle=tf_dynamic_rnn(LSTM),
        batched=("inputs", "sequence_length"),
        ulps=4,
    ),
    Case(
        nn.bidirectional_dynamic_rnn,
        {"inputs": INPUTS, "sequence_length": LENGTHS, "initial_state_bw": normal(3, 2)},
        {"cell_fw": in_dtype_of_inputs(RNN), "cell_bw": in_dtype_of_inputs(BACKWARD_RNN)},
        oracle=tf_bidirectional_dynamic_rnn(RNN, BACKWARD_RNN),
        batched=("inputs", "sequence_length", "initial_state_bw"),
        ulps=4,
        bad=(
            *BAD_INPUTS,
            bad("`cell_fw` must be callable", TypeError, cell_fw=3),
            bad("`cell_bw` must be callable", TypeError, cell_bw=3),
            bad(r"`initial_state_fw` must have shapes \[3, ...\] .* got \(2,\)", initial_state_fw=np.zeros(2)),
            bad(r"`initial_state_bw` must have shapes \[3, ...\] .* got \(2,\)", initial_state_bw=np.zeros(2)),
        ),
    ),
]
