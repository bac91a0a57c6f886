"""Every op has a case, its signature and docstring follow the conventions, and no name of TensorFlow is forgotten."""

import inspect

import pytest
from machinery.registry import CASES

import jnnops as nn

OPS = [name for name in nn.__all__ if inspect.isfunction(getattr(nn, name))]

# Further names that TensorFlow has for an op.
SYNONYMS = {
    "avg_pool_v2": "avg_pool",
    "conv3d_backprop_filter_v2": "conv3d_backprop_filter",
    "ctc_beam_search_decoder_v2": "ctc_beam_search_decoder",
    "ctc_loss_v2": "ctc_loss",
    "depthwise_conv2d_native": "depthwise_conv2d",
    "depthwise_conv2d_native_backprop_filter": "depthwise_conv2d_backprop_filter",
    "depthwise_conv2d_native_backprop_input": "depthwise_conv2d_backprop_input",
    "lrn": "local_response_normalization",
    "max_pool_v2": "max_pool",
    "softmax_cross_entropy_with_logits_v2": "softmax_cross_entropy_with_logits",
    "swish": "silu",
}

# The names of `tf.nn`, `tf.nn.experimental` and `tf.compat.v1.nn` that are not in `jnnops`, and why.
ABSENT = {
    "RNNCellDeviceWrapper": "JAX places a computation by the sharding of its arrays (docs/layers.rst)",
    "experimental": "a module, whose names are here",
    "rnn_cell": "a module, whose cells are in jnnops.layers",
}


def test_every_op_has_a_case():
    assert {getattr(nn, name).__name__ for name in OPS} - {case.op.__name__ for case in CASES} == set()


def test_no_two_cases_have_one_name():
    assert len({case.id for case in CASES}) == len(CASES)


def test_what_tensorflow_has_is_here_or_known_to_be_absent():
    from machinery.oracle import tf

    modules = (tf.nn, tf.nn.experimental, tf.compat.v1.nn)
    theirs = {name for module in modules for name in dir(module) if not name.startswith("_")}
    assert theirs - set(nn.__all__) == set(ABSENT)


def test_other_names_of_an_op_are_the_same_function():
    assert {name: getattr(nn, name).__name__ for name in OPS if getattr(nn, name).__name__ != name} == SYNONYMS


@pytest.mark.parametrize("name", OPS)
def test_signature_and_docstring_follow_the_conventions(name):
    op = getattr(nn, name)
    parameters = inspect.signature(op).parameters
    assert not {"name", "use_cudnn_on_gpu", "parallel_iterations", "swap_memory"} & set(parameters)
    assert "key" not in parameters or parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY
    for section in ("Args:", "Returns:", "Raises:", "Example:", "References:", ">>> "):
        assert section in (op.__doc__ or ""), section
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters.values())
