"""Cases of fake quantization."""

import numpy as np
from machinery.case import Case, bad, normal

import jnnops as nn

X = normal(3, 4) * 2
G = normal(3, 4, seed=1)
LOW, HIGH = np.array(-1.3), np.array(2.9)
LOWS, HIGHS = -1 - np.arange(4.0) / 7, 2.5 - np.arange(4.0) / 3

BAD_OPTIONS = (
    bad("`num_bits` must be at least 2, got 1", num_bits=1),
    bad("`num_bits` must be at most 16, got 17", num_bits=17),
    bad("`narrow_range` must be True or False, got 1", TypeError, narrow_range=1),
    bad("`inputs` must be floating point", TypeError, inputs=np.ones((3, 4), np.int32)),
)
BAD_GRADIENT = (bad(r"`gradients` must have shape \(3, 4\) \(that of `inputs`\), got \(3,\)", gradients=[1.0] * 3),)
BAD_ARGS = (
    *BAD_OPTIONS,
    bad("`min` must be below `max`, and their difference finite, got 1.0 and 1.0", min=1, max=1),
    bad("`min` must be below `max`, and their difference finite", min=-3e38, max=3e38),
    bad("`min` must be a static number", TypeError, min="a"),
)
BAD_VARS = (
    *BAD_OPTIONS,
    bad("`min` must be at most `max`, and their difference finite, got 3.0 and 2.0", min=3.0, max=2.0),
    bad("`max` must be of rank 0", max=[1.0]),
)
BAD_CHANNELS = (
    *BAD_OPTIONS,
    bad("`min` must be at most `max`, and their difference finite", max=[1.0, 1.0, -5.0, 1.0]),
    bad(r"`max` must have shape \(4,\)", max=[1.0]),
    bad(r"`min` must have shape \(4,\)", min=1.0),
)
OPTIONS = {"num_bits": 5, "narrow_range": True}


def case(op, arrays, static=None, *, bad=(), label="", is_gradient=False, per_channel=False):
    static = static or {}
    name = op.__name__
    return Case(
        op,
        arrays,
        static,
        label=label,
        oracle=lambda tf, **given: getattr(tf.quantization, name)(**given, **static),
        oracle_dtype="float32",
        oracle_gradient=not is_gradient,
        tolerance=2e-5,
        differentiable=("gradients",) if is_gradient else None,
        order=1 if is_gradient else 2,
        straight_through=not is_gradient,
        batched=() if is_gradient and "min" in arrays else tuple(n for n in ("gradients", "inputs") if n in arrays),
        ties="min" not in arrays or not arrays["min"].ndim,  # else the ranges would be out of order
        bad=bad,
    )


ARGS, VARS = {"min": -1.3, "max": 2.9}, {"min": LOW, "max": HIGH}
CHANNELS = {"min": LOWS, "max": HIGHS}

CASES = [
    case(nn.fake_quant_with_min_max_args, {"inputs": X}, ARGS, bad=BAD_ARGS),
    case(nn.fake_quant_with_min_max_args, {"inputs": X}, {**ARGS, **OPTIONS}, label="narrow"),
    case(nn.fake_quant_with_min_max_vars, {"inputs": X, **VARS}, bad=BAD_VARS),
    case(nn.fake_quant_with_min_max_vars, {"inputs": X, **VARS}, OPTIONS, label="narrow"),
    case(nn.fake_quant_with_min_max_vars_per_channel, {"inputs": X, **CHANNELS}, bad=BAD_CHANNELS),
    case(nn.fake_quant_with_min_max_vars_per_channel, {"inputs": X, **CHANNELS}, OPTIONS, label="narrow"),
    case(
        nn.fake_quant_with_min_max_args_gradient,
        {"gradients": G, "inputs": X},
        ARGS,
        bad=(*BAD_ARGS, *BAD_GRADIENT),
        is_gradient=True,
    ),
    case(
        nn.fake_quant_with_min_max_vars_gradient,
        {"gradients": G, "inputs": X, **VARS},
        bad=(*BAD_VARS, *BAD_GRADIENT),
        is_gradient=True,
    ),
    case(
        nn.fake_quant_with_min_max_vars_per_channel_gradient,
        {"gradients": G, "inputs": X, **CHANNELS},
        bad=(*BAD_CHANNELS, *BAD_GRADIENT),
        is_gradient=True,
    ),
]
