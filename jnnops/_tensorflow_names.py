"""What TensorFlow's, TensorFlow 1's and Keras's names of arguments are called here, or why there is no such argument.

``ANSWERS`` maps a name of theirs to one or more :class:`Answer`; the first whose ``here`` the callable takes is meant
(``here`` of None fits every callable). ``OF_ONE`` holds what is true of one callable only and comes first: it maps the
``__qualname__`` of a function or method (``"ctc_loss"``, ``"Dense.init"``) to answers by name. :func:`answer_to` looks
both up. An answer's ``text`` continues the sentence that begins with the name: "`filter` is called `filters` here".
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What to write instead of an argument of TensorFlow's.

    Attributes:
        here: The argument that takes its place, or None if there is none.
        text: A predicate whose subject is TensorFlow's argument.
    """

    here: str | None
    text: str


def called(here: str) -> Answer:
    """The answer to an argument that has another name here and the same meaning."""
    return Answer(here, f"is called `{here}` here")


def absent(reason: str) -> Answer:
    """The answer to an argument that has no counterpart."""
    return Answer(None, f"is not taken: {reason}")


_KEY = "is given as a random key here: `key=jax.random.key(seed)`"
_UNSEEDED = absent("nothing is drawn at random here; where it is, a `key` is passed")
_SCOPE = absent("`jax.named_scope` names a computation")
_PADS = "is part of `padding` here: `padding=[[0, 0], [top, bottom], [left, right], [0, 0]]`"
_PENALTY = absent("add a penalty such as `nn.l2_loss(layer.kernel)` to the loss, or let optax decay the weights")
_CONSTRAINT = absent("project the updated weights, for instance by `optax.projections`")
_ARRAYS = ("beta", "bias", "depthwise", "embeddings", "gamma", "kernel", "pointwise", "recurrent")
_ADAPTER = absent("a layer of one's own, a `Dense` and two thin ones, is an adapter of low rank")
_RENORM = absent("`BatchNorm` has no renormalization")
_WRAP = absent("wrap the cell in `DropoutWrapper`")
_ZEROS = absent("it begins as zeros or ones; `dataclasses.replace(layer, ...)` gives a layer other arrays")
_SHARDS = absent("the sharding of its arrays places a layer on devices")
_INIT = Answer(None, "belongs to `init`, which draws the arrays; the class itself is called with these")
_MODE = absent("`RNN` returns the outputs of all steps and the last state: take the one that is wanted")

ANSWERS: Mapping[str, Sequence[Answer]] = {
    # The ops: names that differ.
    "Targmax": [called("output_dtype")],
    "block_size": [called("block_shape")],
    "dilation_rate": [called("dilations")],
    "dim": [called("axis")],
    "explicit_paddings": [Answer("padding", _PADS)],
    "features": [called("logits")],
    "filter": [called("filters")],
    "keep_dims": [called("keepdims")],
    "keep_prob": [Answer("rate", "is the probability of keeping, here it is that of dropping: `rate=1 - keep_prob`")],
    "kernel": [called("filters")],
    "rate": [called("dilations")],
    "rates": [called("dilations")],
    "targets": [called("labels")],
    "value": [called("input")],
    # The ops: names that have no counterpart.
    "_sentinel": [absent("it only made TensorFlow 1's callers name their arguments; leave it out")],
    "allow_fast_lookup": [absent("there is one lookup only")],
    "deterministic": [Answer("key", "is not taken: the same `key` always gives the same result")],
    "index_type": [absent("indices are int32; `indices.astype(...)` converts them")],
    "name": [_SCOPE],
    "parallel_iterations": [absent("XLA orders the steps of a loop; `unroll` puts several into one iteration")],
    "scope": [_SCOPE],
    "seed": [Answer("key", _KEY), _UNSEEDED],
    "seed2": [Answer("key", "is not taken: a `key=jax.random.key(seed)` holds the whole seed"), _UNSEEDED],
    "swap_memory": [Answer("remat", "is not taken: `remat=True` saves memory, by computing steps again")],
    "use_bias": [absent("it always has a bias; zeros leave it out")],
    "use_cudnn": [absent("XLA chooses the kernel")],
    "use_cudnn_on_gpu": [absent("XLA chooses the kernel")],
    "validate_indices": [absent("ids out of range give rows of zeros, and `checkify` reports them")],
    # Layers and cells: names that differ.
    "center": [called("use_offset")],
    "depthwise_initializer": [called("kernel_init")],
    "dropout_keep_prob": [Answer("dropout_rate", "is `dropout_rate = 1 - dropout_keep_prob` here")],
    "dropout_prob_seed": [absent("the state holds a `key`, from which every step draws its mask")],
    "dropout_state_filter_visitor": [called("state_filter")],
    "embeddings_initializer": [called("table_init")],
    "epsilon": [called("variance_epsilon")],
    "filters": [called("features"), called("output_channels"), called("filter"), _INIT],
    "initializer": [called("kernel_init"), called("table_init")],
    "input_dim": [called("num_embeddings"), called("in_features")],
    "input_keep_prob": [Answer("input_rate", "is `input_rate = 1 - input_keep_prob` here")],
    "input_size": [called("in_features")],
    "kernel_initializer": [called("kernel_init")],
    "num_outputs": [called("features"), _INIT],
    "num_units": [called("features"), _INIT],
    "output_dim": [called("features")],
    "output_keep_prob": [Answer("output_rate", "is `output_rate = 1 - output_keep_prob` here")],
    "pool_size": [called("kernel_size"), called("ksize")],
    "scale": [called("use_scale")],
    "state_keep_prob": [Answer("state_rate", "is `state_rate = 1 - state_keep_prob` here")],
    "unit_forget_bias": [Answer("forget_bias", "is `forget_bias=1.0` here, which the cell adds in every step")],
    "units": [called("features"), called("num_units"), _INIT],
    "variational_recurrent": [called("variational")],
    # Layers and cells: names that have no counterpart.
    "activation": [absent("apply the function to the result, or put it after the layer in `Sequential`")],
    **{f"{array}_constraint": [_CONSTRAINT] for array in _ARRAYS},
    **{f"{array}_regularizer": [_PENALTY] for array in (*_ARRAYS, "activity")},
    **{f"{array}_initializer": [_ZEROS] for array in ("beta", "bias", "gamma")},
    "backward_layer": [
        absent("`init` draws the two directions, and `Bidirectional(forward=..., backward=...)` takes any")
    ],
    "dropout": [_WRAP],
    "go_backwards": [absent("reverse the inputs with `jnp.flip`, or take `Bidirectional`")],
    "moving_mean_initializer": [absent("`init_state` gives the running statistics")],
    "moving_variance_initializer": [absent("`init_state` gives the running statistics")],
    "lora_alpha": [_ADAPTER],
    "lora_rank": [_ADAPTER],
    "mask_zero": [absent("`sequence_length` says where the rows end")],
    "merge_mode": [absent("the result holds both directions, to be joined or added as is wanted")],
    "num_proj_shards": [_SHARDS],
    "num_unit_shards": [_SHARDS],
    "quantization_config": [absent("the ops of `jnnops` that quantize are called on the arrays")],
    "recurrent_activation": [absent("the gates are sigmoids, as TensorFlow 1's")],
    "recurrent_dropout": [_WRAP],
    "recurrent_initializer": [
        Answer("kernel_init", "is not taken: `kernel_init` draws one kernel for the inputs and the state")
    ],
    "renorm": [_RENORM],
    "renorm_clipping": [_RENORM],
    "renorm_momentum": [_RENORM],
    "reset_after": [absent("the state is reset before the product, as TensorFlow 1's cell does")],
    "return_sequences": [_MODE],
    "return_state": [_MODE],
    "reuse": [absent("a layer that is called twice uses its arrays twice")],
    "state_is_tuple": [absent("a state is a tuple always")],
    "stateful": [absent("pass the last state of one call to the next as `initial_state`")],
    "synchronized": [absent("the layer is called with `axis_name`, the mapped axis over which statistics are taken")],
    "zero_output_for_mask": [absent("outputs past the end of a row are always 0")],
    "trainable": [absent("`optax.multi_transform` says by path what is trained")],
}

_V1 = "belongs to TensorFlow 1's loss, which is `nn.ctc_loss_v1`; this one is TensorFlow 2's, whose `blank_index` is 0"
_TRIPLE = "is a part of a SparseTensor: pass rows padded to one length as `{}` and their lengths as `{}`"

OF_ONE: Mapping[str, Mapping[str, Answer]] = {
    "Bidirectional.init": {
        "layer": Answer("cell", "is called `cell` here, and is the class of a cell"),
        "weights": absent("`Bidirectional(forward=..., backward=...)` takes layers with given arrays"),
    },
    "ConvLSTMCell.init": {
        "conv_ndims": absent("it follows from `input_shape`"),
        "initializers": called("kernel_init"),
    },
    "Dropout.init": {"seed": absent("the layer is called with `key=jax.random.key(seed)`")},
    "DropoutWrapper.init": {
        "dtype": absent("a mask has the dtype of what it drops"),
        "input_size": absent("a mask has the shape of what it drops"),
        "seed": absent("the state holds a key: `zero_state(batch_size, dtype, key=jax.random.key(seed))`"),
    },
    "GRUBlockCell.init": {"cell_size": called("num_units")},
    "MultiRNNCell.init": {"cells": absent("cells that exist are given to the class: `MultiRNNCell(cells=[...])`")},
    "Embedding.init": {"weights": absent("`Embedding(table=...)` takes a given table")},
    "batch_norm_with_global_normalization": {
        "t": called("input"),
        "m": called("mean"),
        "v": called("variance"),
    },
    "conv3d_backprop_filter": {
        "filter": Answer("filter_sizes", "is given by its shape here: `filter_sizes=filter.shape`"),
    },
    "conv3d_backprop_input": {
        "input": Answer("input_sizes", "is given by its shape here: `input_sizes=input.shape`"),
    },
    "ctc_loss": {
        "inputs": Answer("logits", f"is called `logits` here, and {_V1}"),
        "sequence_length": Answer("logit_length", f"is called `logit_length` here, and {_V1}"),
        "time_major": Answer("logits_time_major", f"is called `logits_time_major` here, and {_V1}"),
        "preprocess_collapse_repeated": Answer(None, _V1),
        "ctc_merge_repeated": Answer(None, _V1),
        "ignore_longer_outputs_than_inputs": Answer(
            "zero_infinity", f"{_V1}; `zero_infinity=True` makes the loss of labels that do not fit 0"
        ),
        "labels_indices": Answer("labels", _TRIPLE.format("labels", "label_length")),
        "labels_values": Answer("labels", _TRIPLE.format("labels", "label_length")),
    },
    "edit_distance": {
        f"{argument}_{part}": Answer(argument, _TRIPLE.format(argument, f"{argument}_length"))
        for argument in ("hypothesis", "truth")
        for part in ("indices", "values", "shape")
    },
    "isotonic_regression": {
        "input": called("inputs"),
        "output_dtype": absent("the result has the dtype of `inputs`; convert these"),
    },
}


def answer_to(function: Callable[..., Any], name: str) -> Answer | None:
    """What to write instead of an argument that a function or method does not take.

    Args:
        function: A function of ``jnnops``, or the ``init`` of a layer.
        name: The name of an argument in TensorFlow or Keras.

    Returns:
        The answer, or None if ``function`` takes an argument of this name or nobody has such an argument.
    """
    parameters = inspect.signature(function).parameters
    if name in parameters:
        return None
    of_one = OF_ONE.get(function.__qualname__, {})
    if name in of_one:
        return of_one[name]
    return next((answer for answer in ANSWERS.get(name, ()) if answer.here is None or answer.here in parameters), None)
