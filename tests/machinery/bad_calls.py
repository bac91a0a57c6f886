"""Values that an argument of a kind can never take, and which kind the arguments of the library are of."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_OBJECT = object()
_TWO_KEYS = jax.random.split(jax.random.key(0))
# What is neither a number nor a collection of them.
_NO_NUMBERS = ("ab c", b"ab", {}, {"a": 1}, _OBJECT, len)
_NO_ARRAYS = (None, *_NO_NUMBERS, [[1.0], [1.0, 2.0]], [None, 1.0], ["ab c"], 2**70)
_NO_INTS = (*_NO_NUMBERS, {1, 2}, 1.5, float("nan"), 1j, ["ab c"], [1.5], np.ones((2, 2)), 2**70)
_NO_FLOATS = (None, *_NO_NUMBERS, {1.0}, 1j, [0.5, 0.5], np.ones(2), "1.5", True, 10**400)
_NO_PADDING = (None, *_NO_INTS, [], [[1, 2, 3]], [[-1, 0]] * 4, [[1]] * 2, [1, 1], -1)

BAD_VALUES: Mapping[str, tuple[Any, ...]] = {
    "floats": (*_NO_ARRAYS, 1j, np.ones(3, bool), np.ones(3, np.complex64)),
    "numbers": (*_NO_ARRAYS, 1j, np.ones(3, bool)),
    "integers": (*_NO_ARRAYS, 1.5, 1j, np.ones(3), np.array([2**40])),
    "array": _NO_ARRAYS,
    "optional numbers": (*_NO_ARRAYS[1:], 1j, np.ones(3, bool)),
    "place": (*_NO_ARRAYS, 1.5, -1, 99, [1]),
    "count": (*_NO_INTS[:-1], None, -1, 99, [1], 2**70),
    "array or None": _NO_ARRAYS[1:],
    "arrays": (None, *_NO_NUMBERS, 3),
    "float": _NO_FLOATS,
    "float from 0": (*_NO_FLOATS, -1, -1e-3, float("nan")),
    "float above 0": (*_NO_FLOATS, 0, -1, float("nan")),
    "ratios": (None, *_NO_NUMBERS, {1.5}, 1j, "1.5", True, 0.5, -1, float("nan"), [1.5] * 3, [], ["1.5"], [2, 1, 1, 1]),
    "fraction": (*_NO_FLOATS, -0.1, 1.5, float("nan")),
    "fraction below 1": (*_NO_FLOATS, -0.1, 1, 1.5, float("nan")),
    "sizes": (None, *_NO_INTS, 2**31, -1, [], 0, [0], [1] * 9),
    "sizes or None": (*_NO_INTS, 2**31, -1, [], 0, [0], [1] * 9),
    "sizes from 0": (None, *_NO_INTS, 2**31, -1, [], [1] * 9),
    "units": (None, *_NO_INTS, -1, 0, [], [0]),
    "shape": (None, *_NO_INTS, [], [-7] * 4, [1] * 9),
    "shape of noise": (*_NO_INTS[:-2], 1.5, [-1]),
    "pairs": _NO_PADDING,
    "padding": (*_NO_PADDING, "SAM", ""),
    "size": (None, *_NO_INTS, -1, 0, [2], []),
    "size from 0": (None, *_NO_INTS, -1, [2], []),
    "integer": (None, *_NO_INTS, [], [0, 0]),
    "axes": (*_NO_INTS[:-2], 99, -99, [99], [0, 0], 2**70),
    "boolean": (None, "no", "", 2, 0.5, 1, 0, [], [True], _OBJECT, np.ones(2, bool)),
    "name": ("banana", "", 3, b"N", [], {}, _OBJECT, 1.5, True),
    "generator": ("banana", "philox", b"N", [], {}, _OBJECT, 1.5),
    "dtype": ("banana", "", 3, _OBJECT, [], np.ones(2), "str", object, jax.random.key(0).dtype),
    "precision": ("banana", 3, _OBJECT, 1.5, ("a",), {}, ("highest", "a")),
    "key": (None, 0, 1.5, "ab", [1, 2], {}, _OBJECT, np.zeros(2), np.zeros(3, np.uint32), _TWO_KEYS),
    "function": (None, 3, "tanh", [], {}),
    "initializer": (None, 3, "zeros", [], jax.nn.initializers.glorot_uniform, lambda *_: jnp.zeros(7), lambda: 0),
    "cell": (None, 3, "cell", [], {}, dict),
    "loop function": (None, 3, "loop", [], {}, lambda *_: None, lambda *_: (1, 2), lambda *_: (1,) * 5),
    "cells": (None, 3, "cells", {}, [], [3], [None], [dict], np.ones(2), _OBJECT),
    "pair": ("ab", 3, [], {}, (1, 2, 3), _OBJECT),
    "states or None": ("ab", 3, {}, [], [1, 2, 3], np.ones(1), _OBJECT),
    "saver": (None, 3, "ab", [], {}, _OBJECT, np.ones(2)),
    "name of state": (None, 3, "ab", [], {}, _OBJECT, [[]], [None], ["h", "h"], [b"h"]),
    "quantized": (*_NO_ARRAYS, 1.5, 1j, np.ones(3), np.array([2**40]), np.ones(3, np.uint32), np.ones(3, bool)),
    "quantized dtype": ("banana", "", 3, _OBJECT, [], np.ones(2), "str", object, "int64", "float32", bool, None),
    "bits": (None, *_NO_INTS, 0, 99, [8]),
    "sparse": (None, *_NO_NUMBERS, 3, (1, 2), [[1, 2]], np.ones((2, 2), np.int32)),
    "good for nothing": (),
}  # fmt: skip

_ARGUMENTS: Mapping[str, str] = {
    "floats": "logits pos_weight depthwise_filter pointwise_filter weights biases scale offset mean variance bias "
    "mean_ss gamma gradients",
    "numbers": "features x value input filters filter out_backprop mask marker labels max_value alpha beta t operand "
    "min_range max_range input_min input_max requested_output_min requested_output_max min_input max_input min_filter "
    "max_filter min_features max_features min max "
    "targets log_input predictions per_example_loss regularization_loss frequency_weights counts variance_ss",
    "integers": "true_classes sampled_candidates ids label_length logit_length sequence_length argmax seed "
    "seq_length hypothesis truth hypothesis_length truth_length row_pooling_sequence col_pooling_sequence",
    "arrays": "inputs",
    "float": "distortion forget_bias carry_bias_init norm_gain norm_shift",
    "bits": "num_bits",
    "quantized dtype": "T out_type",
    "float from 0": "ensure_minimum_range epsilon variance_epsilon max_norm cell_clip proj_clip",
    "fraction": "label_smoothing recall_target momentum exponential_avg_factor leak ratio_on",
    "float above 0": "period_init_min period_init_max",
    "fraction below 1": "rate input_rate output_rate state_rate dropout_rate",
    "sizes from 0": "output_padding",
    "sizes or None": "dilations num_frequency_blocks start_freqindex_list end_freqindex_list",
    "optional numbers": "sample_weight",
    "count": "k",
    "place": "n",
    "sizes": "strides stride ksize window_shape kernel_size dilation_rate block_shape input_shape kernel_shape",
    "shape": "output_shape input_sizes filter_sizes filter_shape",
    "shape of noise": "noise_shape",
    "pairs": "paddings crops",
    "padding": "padding",
    "size": "num_true num_sampled num_classes range_max block_size num_shards num_units in_features in_channels groups "
    "multiplier num_embeddings unroll num_proj num_in_proj chunk_size output_channels feature_size frequency_skip "
    "embedding_classes embedding_size output_size attn_length attn_size attn_vec_size beam_width top_paths",
    "size from 0": "max_steps depth_radius steps batch_size global_batch_size max_time",
    "integer": "ignored_label reduction_input_size_override blank_index num_reserved_ids shard",
    "axes": "reduction_dimension axis axes spatial_dims",
    "boolean": "normalize narrow_range signed_input range_given preprocess_collapse_repeated ctc_merge_repeated "
    "ignore_longer_outputs_than_inputs "
    "approximate keepdims is_training merge_repeated logits_time_major zero_infinity time_major "
    "compute_full_loss reverse aggregate_to_topk sorted decreasing "
    "include_batch_in_index overlapping pseudo_random unique remove_accidental_hits use_bias use_scale use_offset "
    "use_peepholes training scale_after_normalization remat early_exit skip_connection trainable_ratio_on layer_norm "
    "use_peephole share_time_frequency_weights couple_input_forget_gates variational couple_carry_transform_gates",
    "name": "mode round_mode data_format combiner partition_strategy pooling_type rng_alg",
    "dtype": "dtype compute_dtype output_dtype preferred_element_type",
    "precision": "precision",
    "key": "key",
    "function": "activation y_activation op uniform_sampler state_filter residual_fn",
    "initializer": "kernel_init table_init",
    "cell": "cell cell_fw cell_bw",
    "cells": "cells_fw cells_bw",
    "loop function": "loop_fn",
    "states or None": "initial_states_fw initial_states_bw",
    "saver": "state_saver",
    "name of state": "state_name",
    "pair": "sampled_values",
    "ratios": "pooling_ratio",
    # What is a pytree, a path, or has tests of its own below `rooms`.
    "good for nothing": "params sp_ids sp_weights embedding_weights sparse_ids sparse_weights default_id state shift "
    "scorer initial_state initial_state_fw initial_state_bw axis_name vocab_file unigrams table options",
}
_KIND = {name: kind for kind, names in _ARGUMENTS.items() for name in names.split()}
# Where an argument is of another kind than those of the same name.
_OTHER_KIND: Mapping[str, Mapping[str, str]] = (
    {
        "atrous_conv2d": {"rate": "size"},
        "atrous_conv2d_transpose": {"rate": "size"},
        "batch_normalization": {"offset": "array or None", "scale": "array or None"},
        "quantize": {"input": "floats"},
        "quantize_and_dequantize": {"input": "floats"},
        "collapse_repeated": {"labels": "integers"},
        "ctc_forced_alignment": {"labels": "integers"},
        "ctc_loss_v1": {"labels": "sparse", "inputs": "floats"},
        "ctc_unique_labels": {"labels": "integers"},
        "in_top_k": {"targets": "integers", "k": "integer"},
        "isotonic_regression": {"inputs": "numbers"},
        "l2_normalize": {"x": "array"},
        "local_response_normalization": {"input": "floats", **{"bias": "float", "alpha": "float", "beta": "float"}},
        "stateless_dropout": {"rng_alg": "generator"},
        "sampled_softmax_loss": {"labels": "integers"},
        "sparse_softmax_cross_entropy_with_logits": {"labels": "integers"},
        "batch_norm_with_global_normalization": {"input": "floats", "beta": "floats"},
        "zero_fraction": {"value": "array"},
    }
    | {
        name: {argument: "quantized" for argument in ("input", "features", "filter")}
        for name in (
            *("dequantize", "requantize", "requantization_range", "quantized_conv2d", "quantized_max_pool"),
            *("quantized_avg_pool", "quantized_relu", "quantized_relu6", "quantized_relu_x"),
        )
    }
    | {
        f"fake_quant_with_min_max_{name}": {"inputs": "floats"}
        | ({"min": "float", "max": "float"} if name.startswith("args") else {})
        for name in (
            *("args", "args_gradient", "vars", "vars_gradient"),
            *("vars_per_channel", "vars_per_channel_gradient"),
        )
    }
    | {
        name: {"features": "size"}
        for name in ("Conv.init", "ConvTranspose.init", "SeparableConv.init", "Dense.init", "Embedding.init")
    }
    | {name: {"features": "sizes from 0"} for name in ("BatchNorm.init", "LayerNorm.init")}
    | {name: {"num_units": "units"} for name in ("RNN.init", "Bidirectional.init", "MultiRNNCell.init")}
    | {"LocalResponseNorm": {"x": "floats"}}
    | {"LocalResponseNorm.init": {"bias": "float", "alpha": "float", "beta": "float"}}
)


def bad_calls(name: str, function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Each argument of a function with each value that it must refuse."""
    for argument, parameter in inspect.signature(function).parameters.items():
        for value in BAD_VALUES[{**_KIND, **_OTHER_KIND.get(name, {})}[argument]]:
            if value is not None or parameter.default is not None:
                yield argument, value


def what_is_wrong_with(name: str, call: Callable[[], Any], argument: str) -> str | None:
    """How an answer to a bad call falls short of an error that names the op and the argument; None if it does not."""
    try:
        call()
    except (ValueError, TypeError) as error:
        message = str(error)
        if message.startswith(f"{name}: ") and f"`{argument}" in message:
            return None
        return f"{type(error).__name__}: {message[:200]}"
    except Exception as error:
        return f"another class of error, {type(error).__name__}: {str(error)[:200]}"
    return "no error"
