"""No bad argument is taken in silence, and every error names the op and the argument."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.sparse import BCOO
from machinery.bad_calls import bad_calls, what_is_wrong_with
from machinery.registry import first_case

import jnnops as nn
from jnnops import layers

_KEY = jax.random.key(0)
_CELL = {"in_features": 4, "num_units": 3, "key": jax.random.key(0)}
_DENSE = {"in_features": 4, "features": 3, "key": jax.random.key(0)}
_CONV = {"in_channels": 4, "features": 3, "kernel_size": (3, 3), "key": jax.random.key(0)}
_CONV_CELL = {"input_shape": (5, 5, 4), "output_channels": 3, "kernel_shape": (3, 3), "key": jax.random.key(0)}
_GRID_CELL = {
    **_CELL,
    "feature_size": 2,
    "frequency_skip": 1,
    "start_freqindex_list": [0, 1],
    "end_freqindex_list": [2, 4],
}
_INPUT = jnp.ones((2, 4), jnp.float32)
_DEPTHWISE = {"in_channels": 4, "kernel_size": (3, 3), "key": _KEY}
_RNN = layers.RNN(cell=layers.GRUCell.init(**_CELL))
_SEQUENCES = {"inputs": jnp.ones((2, 5, 4)), "sequence_length": jnp.array([2, 3])}

# What errors call it, the function, and a good call.
LAYERS: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    "BasicRNNCell.init": (layers.BasicRNNCell.init, _CELL),
    "GRUCell.init": (layers.GRUCell.init, _CELL),
    "BasicLSTMCell.init": (layers.BasicLSTMCell.init, _CELL),
    "LSTMCell.init": (layers.LSTMCell.init, _CELL),
    "LSTMCell": (layers.LSTMCell.init(**_CELL).zero_state, {"batch_size": 2}),
    "UGRNNCell.init": (layers.UGRNNCell.init, _CELL),
    "IntersectionRNNCell.init": (layers.IntersectionRNNCell.init, {**_CELL, "num_in_proj": 3}),
    "NASCell.init": (layers.NASCell.init, _CELL),
    "SRUCell.init": (layers.SRUCell.init, _CELL),
    "PhasedLSTMCell.init": (layers.PhasedLSTMCell.init, _CELL),
    "ConvLSTMCell.init": (layers.ConvLSTMCell.init, _CONV_CELL),
    "ConvLSTMCell": (layers.ConvLSTMCell.init(**_CONV_CELL).zero_state, {"batch_size": 2}),
    "TimeFreqLSTMCell.init": (layers.TimeFreqLSTMCell.init, {**_CELL, "feature_size": 2}),
    "GridLSTMCell.init": (layers.GridLSTMCell.init, _GRID_CELL),
    "DropoutWrapper.init": (layers.DropoutWrapper.init, {"cell": _RNN.cell}),
    "ResidualWrapper.init": (layers.ResidualWrapper.init, {"cell": _RNN.cell}),
    "HighwayWrapper.init": (layers.HighwayWrapper.init, {"cell": _RNN.cell, "in_features": 3, "key": _KEY}),
    "InputProjectionWrapper.init": (
        layers.InputProjectionWrapper.init,
        {"cell": _RNN.cell, "in_features": 3, "num_proj": 4, "key": _KEY},
    ),
    "OutputProjectionWrapper.init": (
        layers.OutputProjectionWrapper.init,
        {"cell": _RNN.cell, "output_size": 4, "key": _KEY},
    ),
    "EmbeddingWrapper.init": (
        layers.EmbeddingWrapper.init,
        {"cell": _RNN.cell, "embedding_classes": 3, "embedding_size": 4, "key": _KEY},
    ),
    "AttentionCellWrapper.init": (
        layers.AttentionCellWrapper.init,
        {"cell": _RNN.cell, "in_features": 4, "attn_length": 2, "key": _KEY},
    ),
    "LayerNormBasicLSTMCell.init": (layers.LayerNormBasicLSTMCell.init, _CELL),
    "CoupledInputForgetGateLSTMCell.init": (layers.CoupledInputForgetGateLSTMCell.init, _CELL),
    "LSTMBlockCell.init": (layers.LSTMBlockCell.init, _CELL),
    "LSTMBlockCell": (layers.LSTMBlockCell.init(**_CELL).zero_state, {"batch_size": 2}),
    "LSTMBlockFusedCell.init": (layers.LSTMBlockFusedCell.init, _CELL),
    "LSTMBlockFusedCell": (
        layers.LSTMBlockFusedCell.init(**_CELL).__call__,
        {"inputs": jnp.ones((5, 2, 4)), "sequence_length": jnp.array([2, 3])},
    ),
    "GRUBlockCell.init": (layers.GRUBlockCell.init, _CELL),
    "MultiRNNCell.init": (layers.MultiRNNCell.init, {**_CELL, "cell": layers.GRUCell, "num_units": (3, 4)}),
    "RNN.init": (layers.RNN.init, {**_CELL, "cell": layers.GRUCell}),
    "Bidirectional.init": (layers.Bidirectional.init, {**_CELL, "cell": layers.GRUCell}),
    "Dense.init": (layers.Dense.init, _DENSE),
    "Dense": (layers.Dense.init(**_DENSE).__call__, {"x": _INPUT}),
    "Conv.init": (layers.Conv.init, _CONV),
    "Conv": (layers.Conv.init(**_CONV).__call__, {"x": jnp.ones((2, 5, 5, 4))}),
    "ConvTranspose.init": (layers.ConvTranspose.init, _CONV),
    "ConvTranspose": (layers.ConvTranspose.init(**_CONV).__call__, {"x": jnp.ones((2, 5, 5, 4)), "output_shape": 5}),
    "DepthwiseConv.init": (layers.DepthwiseConv.init, _DEPTHWISE),
    "DepthwiseConv": (layers.DepthwiseConv.init(**_DEPTHWISE).__call__, {"x": jnp.ones((2, 5, 5, 4))}),
    "SeparableConv.init": (layers.SeparableConv.init, _CONV),
    "SeparableConv": (layers.SeparableConv.init(**_CONV).__call__, {"x": jnp.ones((2, 5, 5, 4))}),
    "Embedding.init": (layers.Embedding.init, {"num_embeddings": 4, "features": 3, "key": jax.random.key(0)}),
    "Embedding": (layers.Embedding(table=jnp.ones((4, 3))).__call__, {"ids": jnp.array([1, 2])}),
    "BatchNorm.init": (layers.BatchNorm.init, {"features": 3}),
    "LayerNorm.init": (layers.LayerNorm.init, {"features": 3}),
    "LayerNorm": (layers.LayerNorm.init(4).__call__, {"x": _INPUT}),
    "LocalResponseNorm.init": (layers.LocalResponseNorm.init, {}),
    "LocalResponseNorm": (layers.LocalResponseNorm().__call__, {"x": jnp.ones((2, 4, 4, 3))}),
    "Dropout.init": (layers.Dropout.init, {"rate": 0.5}),
    "Dropout": (
        functools.partial(layers.Dropout.init(0.5).__call__, training=True),
        {"x": _INPUT, "key": jax.random.key(0)},
    ),
    "MaxPool.init": (layers.MaxPool.init, {"kernel_size": 2}),
    "AvgPool.init": (layers.AvgPool.init, {"kernel_size": 2}),
    "MaxPool": (layers.MaxPool.init(2).__call__, {"x": jnp.ones((2, 4, 4, 1))}),
    "AvgPool": (layers.AvgPool.init(2).__call__, {"x": jnp.ones((2, 4, 4, 1))}),
    "RNN": (_RNN.__call__, _SEQUENCES),
    "Bidirectional": (layers.Bidirectional(forward=_RNN.cell, backward=_RNN.cell).__call__, _SEQUENCES),
}


def assert_all_refused(name: str, function: Callable[..., Any], good: Mapping[str, Any]) -> None:
    function(**good)
    wrong = []
    for argument, value in bad_calls(name, function):
        fault = what_is_wrong_with(name, lambda: function(**{**good, argument: value}), argument)  # noqa: B023
        if fault:
            wrong.append(f"{name}({argument}={value!r:.60}): {fault}")
    assert not wrong, "\n".join(wrong)


_GREEDY = nn.ctc_greedy_init(2, 4, max_time=5)
_BEAMS = nn.ctc_beam_search_init(2, 4, max_time=5, beam_width=3)
_CHUNK = {"inputs": jnp.ones((3, 2, 4)), "sequence_length": jnp.array([2, 3])}

# Good calls of the ops whose cases make the arguments out of arrays.
_OTHERS = {
    "ctc_greedy_init": {"batch_size": 2, "num_classes": 4, "max_time": 5},
    "ctc_greedy_step": {"state": _GREEDY, **_CHUNK},
    "ctc_greedy_finish": {"state": _GREEDY},
    "ctc_beam_search_init": {"batch_size": 2, "num_classes": 4, "max_time": 5, "beam_width": 3},
    "ctc_beam_search_step": {"state": _BEAMS, **_CHUNK},
    "ctc_beam_search_finish": {"state": _BEAMS},
    "raw_rnn": {
        "cell": _RNN.cell,
        "loop_fn": lambda time, output, state, loop_state: (
            (jnp.zeros(2, bool), _INPUT, jnp.ones((2, 3)), None, None)
            if output is None
            else (time > jnp.array([2, 3]), _INPUT, state, output, None)
        ),
        "max_steps": 3,
    },
    "static_state_saving_rnn": {
        "cell": _RNN.cell,
        "inputs": [_INPUT],
        "state_saver": {"h": jnp.ones((2, 3))},
        "state_name": "h",
    },
    "embedding_lookup_sparse": {
        "params": _INPUT,
        "sp_ids": BCOO.fromdense(jnp.array([[1, 0], [0, 1]])),
        "sp_weights": None,
    },
    "safe_embedding_lookup_sparse": {
        "embedding_weights": _INPUT,
        "sparse_ids": BCOO.fromdense(jnp.array([[1, 0], [0, 1]])),
    },
}


@first_case
def test_ops_refuse_bad_arguments(case):
    op = getattr(nn, case.op.__name__)
    assert_all_refused(op.__name__, op, _OTHERS.get(op.__name__) or {**case.cast(case.first_dtype), **case.static})


@pytest.mark.parametrize("name", LAYERS)
def test_layers_refuse_bad_arguments(name):
    assert_all_refused(name, *LAYERS[name])
