"""A call with one of TensorFlow's names of arguments is answered with the name here, or why there is none."""

import functools
import inspect
import itertools
import pickle

import jax
import pytest

import jnnops as nn
from jnnops._tensorflow_names import ANSWERS, OF_ONE, answer_to

OPS = sorted(
    {getattr(nn, name) for name in nn.__all__ if inspect.isfunction(getattr(nn, name))}, key=lambda op: op.__name__
)

# Layers, and what Keras has in their place.
LAYERS = {
    "AvgPool": ["AveragePooling1D", "AveragePooling2D", "AveragePooling3D"],
    "BatchNorm": ["BatchNormalization"],
    "Bidirectional": ["Bidirectional"],
    "Conv": ["Conv1D", "Conv2D", "Conv3D"],
    "Dense": ["Dense"],
    "Dropout": ["Dropout"],
    "Embedding": ["Embedding"],
    "GRUCell": ["GRUCell"],
    "LayerNorm": ["LayerNormalization"],
    "LSTMCell": ["LSTMCell"],
    "MaxPool": ["MaxPooling1D", "MaxPooling2D", "MaxPooling3D"],
    "RNN": ["RNN"],
}

# Cells, and those arguments of TensorFlow 1.15's constructors that ours do not take: TensorFlow 2.21 has none of these.
CELLS = {
    "AttentionCellWrapper": "input_size reuse state_is_tuple",
    "BasicLSTMCell": "name reuse state_is_tuple",
    "BasicRNNCell": "name reuse",
    "ConvLSTMCell": "conv_ndims initializers name",
    "CoupledInputForgetGateLSTMCell": "initializer num_proj_shards num_unit_shards reuse state_is_tuple",
    "DropoutWrapper": "dropout_state_filter_visitor dtype input_keep_prob input_size output_keep_prob seed "
    "state_keep_prob variational_recurrent",
    "EmbeddingWrapper": "initializer reuse",
    "GRUBlockCell": "cell_size name reuse",
    "GRUCell": "bias_initializer kernel_initializer name reuse",
    "GridLSTMCell": "initializer num_unit_shards reuse state_is_tuple",
    "InputProjectionWrapper": "input_size reuse",
    "IntersectionRNNCell": "initializer reuse",
    "LSTMBlockCell": "name reuse",
    "LSTMCell": "initializer name num_proj_shards num_unit_shards reuse state_is_tuple",
    "LayerNormBasicLSTMCell": "dropout_keep_prob dropout_prob_seed input_size reuse",
    "MultiRNNCell": "cells state_is_tuple",
    "OutputProjectionWrapper": "reuse",
    "TimeFreqLSTMCell": "initializer num_unit_shards reuse",
    "UGRNNCell": "initializer reuse",
}


def names_of(op):
    """The further names under which an op is exported."""
    return [name for name in nn.__all__ if getattr(nn, name) is op]


@functools.cache
def raw_ops():
    """TensorFlow's raw ops by their names in small letters."""
    from machinery.oracle import tf

    return {name.lower(): getattr(tf.raw_ops, name) for name in dir(tf.raw_ops)}


def signatures(op):
    """The arguments of TensorFlow's functions of an op's names: TensorFlow 1's, TensorFlow 2's and the raw ones."""
    from machinery.oracle import tf

    homes = [tf, tf.nn, tf.nn.experimental, tf.quantization, tf.random, tf.math]
    v1 = tf.compat.v1
    homes += [v1, v1.nn, v1.quantization, v1.random, v1.math]
    for name in names_of(op):
        theirs = [getattr(home, name, None) for home in homes] + [raw_ops().get(name.replace("_", ""))]
        yield from (inspect.signature(function).parameters for function in theirs if function)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.__name__)
def test_every_name_of_tensorflow_is_taken_or_answered(op):
    ours = inspect.signature(op).parameters
    for theirs in signatures(op):
        for name in theirs.keys() - ours.keys():
            # Nothing else is passed: what is missing does not hide the answer.
            with pytest.raises(TypeError, match=f"^{op.__name__}: TensorFlow's `{name}` "):
                op(**{name: None})


def keras_names(layer):
    """The arguments of Keras's layers that ours does not take."""
    from machinery.oracle import tf

    theirs = [inspect.signature(getattr(tf.keras.layers, name).__init__).parameters for name in LAYERS[layer]]
    ours = inspect.signature(getattr(nn.layers, layer).init).parameters
    return set().union(*theirs) - {"self", "kwargs"} - ours.keys()


@pytest.mark.parametrize("layer", LAYERS)
def test_every_name_of_keras_is_taken_or_answered(layer):
    init = getattr(nn.layers, layer).init
    assert {name for name in keras_names(layer) if answer_to(init, name) is None} == set()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(init).parameters.values()):
        for name in keras_names(layer):
            with pytest.raises(TypeError, match=f"^{layer}.init: TensorFlow's `{name}` "):
                init(**{name: None})


def test_every_name_of_tensorflow_1s_cells_is_answered():
    inits = {cell: getattr(nn.layers, cell).init for cell in CELLS}
    unanswered = [
        (cell, name) for cell, init in inits.items() for name in CELLS[cell].split() if not answer_to(init, name)
    ]
    assert unanswered == []


def test_a_renamed_argument_is_not_another_one_of_tensorflows():
    from machinery.oracle import tf

    for op in OPS:
        for function in filter(None, (getattr(tf.nn, name, None) for name in names_of(op))):
            theirs = inspect.signature(function).parameters.keys() - {"dim"}  # an old name, which stands beside the new
            answers = [answer_to(op, name) for name in theirs]
            here = {answer.here for answer in answers if answer and answer.text.startswith("is called")}
            assert here.isdisjoint(theirs), op


@pytest.mark.parametrize(
    ("op", "arguments", "message"),
    [
        (nn.dropout, {"x": [1.0], "keep_prob": 0.9}, "dropout: TensorFlow's `keep_prob` .*: `rate=1 - keep_prob`"),
        (nn.moments, {"keep_dims": True}, "moments: TensorFlow's `keep_dims` is called `keepdims` here"),
        (
            nn.conv2d,
            {"input": [1.0], "filter": [1.0], "name": "conv1"},
            "conv2d: TensorFlow's `filter` is called `filters` here; "
            "TensorFlow's `name` is not taken: `jax.named_scope` names a computation",
        ),
        (nn.lrn, {"name": "norm1"}, "local_response_normalization: TensorFlow's `name` is not taken"),
        (nn.depthwise_conv2d, {"filters": [1.0]}, "depthwise_conv2d: TensorFlow's `filters` is called `filter` here"),
        (
            nn.ctc_loss,
            {"inputs": [1.0]},
            "ctc_loss: TensorFlow's `inputs` is called `logits` here, .* `nn.ctc_loss_v1`",
        ),
        (nn.layers.Dense.init, {"units": 2}, "Dense.init: TensorFlow's `units` is called `features` here"),
        (nn.layers.LSTMCell, {"num_units": 8}, "LSTMCell.__init__: TensorFlow's `num_units` belongs to `init`"),
        (
            nn.layers.MultiRNNCell.init,
            {"cell": nn.layers.GRUCell, "in_features": 4, "num_units": [8], "key": jax.random.key(0), "scope": "rnn"},
            "GRUCell.init: TensorFlow's `scope` is not taken",
        ),
        (nn.layers.RNN.init, {"units": 8}, "RNN.init: TensorFlow's `units` is called `num_units` here"),
        (nn.conv2d, {"colour": 1}, r"conv2d\(\) got an unexpected keyword argument 'colour'"),
        (nn.relu, {}, r"relu\(\) missing 1 required positional argument: 'features'"),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_an_answer_says_what_to_write(op, arguments, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        op(**arguments)


def test_an_error_within_a_function_is_not_an_answer():
    class Cell:
        @classmethod
        def init(cls, in_features, num_units, *, name, **options):
            raise TypeError("from within")

    with pytest.raises(TypeError, match="^from within$"):
        nn.layers.RNN.init(Cell, 4, 8, name="rnn", key=jax.random.key(0))


def test_an_op_stays_a_function_of_its_module():
    for op in OPS:
        plain = inspect.unwrap(op)
        assert pickle.loads(pickle.dumps(op)) is op
        assert plain is not op
        assert (plain.__code__.co_name, plain.__module__, plain.__doc__) == (op.__name__, op.__module__, op.__doc__)
        assert inspect.signature(op) == inspect.signature(plain)


def test_an_answer_for_one_names_an_argument_of_it():
    for name, answers in OF_ONE.items():
        owner, _, method = name.partition(".")
        function = getattr(getattr(nn.layers, owner), method) if method else getattr(nn, owner)
        assert {answer.here for answer in answers.values() if answer.here} <= inspect.signature(
            function
        ).parameters.keys()


def test_an_answer_continues_a_sentence():
    assert all(ANSWERS.values())
    answers = [*itertools.chain(*ANSWERS.values()), *itertools.chain(*(of_one.values() for of_one in OF_ONE.values()))]
    assert [answer for answer in answers if not answer.text.startswith(("is ", "belongs to "))] == []
