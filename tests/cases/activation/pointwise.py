"""Cases of ``jnnops.activation``."""

import jax
import numpy as np
from machinery.case import Case, bad, integers, normal

import jnnops as nn

X = 3 * normal(4, 5)
IMAGE = normal(2, 3, 4, 5)
NOT_FLOATING = bad("`features` must be floating point", TypeError, features=np.arange(3))
NOT_A_NUMBER = bad("`features` must be integer or floating point", TypeError, features=np.array([True, False]))
NO_ARRAY = bad("`features` must be an array, got None", features=None)
NOT_BROADCASTABLE = r"must broadcast to `features`, got shape \(3,\)"


def sampler(shape, dtype):
    return np.linspace(0, 0.95, int(np.prod(shape))).reshape(shape).astype(dtype)


def key():
    return jax.random.key(3)


def tf_function(name, **options):
    """The oracle of an op that has the same name and arguments in ``tf.nn``."""
    return lambda tf, **tensors: getattr(tf.nn, name)(**tensors, **options)


def expected_dropout(x, rate):
    noise = np.asarray(jax.random.uniform(key(), x.shape))
    return np.where(noise < rate, 0, x / (1 - rate))


ELEMENTWISE = [
    Case(
        op,
        {"features": X},
        oracle=tf_function(op.__name__),
        batched=("features",),
        bad=(NOT_FLOATING, NO_ARRAY),
    )
    for op in (nn.elu, nn.selu, nn.softplus, nn.softsign)
]

CASES = [
    *ELEMENTWISE,
    *(
        Case(
            op,
            {"x": X},
            oracle=tf_function(op.__name__),
            batched=("x",),
            bad=(bad("`x` must be floating point", TypeError, x=[1, 2]),),
        )
        for op in (nn.sigmoid, nn.tanh)
    ),
    *(
        Case(
            op,
            {"features": X},
            oracle=tf_function(op.__name__),
            batched=("features",),
            bad=(NOT_A_NUMBER, NO_ARRAY, bad("`features` must be an array, got str", TypeError, features="x")),
        )
        for op in (nn.relu, nn.relu6)
    ),
    Case(nn.relu, {"features": integers(-5, 5, 3, 4)}, label="integers", oracle=tf_function("relu")),
    Case(nn.relu6, {"features": integers(-5, 9, 3, 4)}, label="integers", oracle=tf_function("relu6")),
    Case(
        nn.relu_x,
        {"features": X, "max_value": np.array([0.5, 1.0, 1.5, 2.0, 2.5])},
        oracle=lambda tf, features, max_value: tf.minimum(tf.nn.relu(features), max_value),
        # at features of max_value tf.minimum has the gradient of its first argument
        ties=False,
        batched=("features",),
        bad=(NOT_A_NUMBER, bad("`max_value` " + NOT_BROADCASTABLE, max_value=np.ones(3, np.float32))),
    ),
    Case(
        nn.crelu,
        {"features": X},
        oracle=tf_function("crelu"),
        batched=("features",),
        bad=(NOT_A_NUMBER, bad("`axis` must be in", axis=2), bad("`axis` must be a static int", TypeError, axis=0.5)),
    ),
    Case(nn.crelu, {"features": IMAGE}, {"axis": 1}, label="axis", oracle=tf_function("crelu", axis=1)),
    Case(
        nn.leaky_relu,
        {"features": X},
        # TensorFlow rounds alpha to float32, so one that it represents
        {"alpha": 0.25},
        oracle=tf_function("leaky_relu", alpha=0.25),
        batched=("features",),
        bad=(NOT_A_NUMBER, bad("`alpha` " + NOT_BROADCASTABLE, alpha=np.ones(3, np.float32))),
    ),
    Case(
        nn.leaky_relu,
        {"features": X, "alpha": np.array([0.1, 0.2, 0.3, 2.0, 0.5])},
        label="parametric",
        oracle=lambda tf, features, alpha: tf.where(features > 0, features, alpha * features),
    ),
    Case(
        nn.gelu,
        {"features": X},
        oracle=tf_function("gelu"),
        oracle_dtype="float32",
        batched=("features",),
        bad=(NOT_FLOATING, bad("`approximate` must be True or False", TypeError, approximate="tanh")),
    ),
    Case(
        nn.gelu,
        {"features": X},
        {"approximate": True},
        label="tanh",
        oracle=tf_function("gelu", approximate=True),
        oracle_dtype="float32",
    ),
    Case(
        nn.silu,
        {"features": X},
        {"beta": 1.5},
        oracle=tf_function("silu", beta=1.5),
        batched=("features",),
        bad=(NOT_FLOATING, bad("`beta` " + NOT_BROADCASTABLE, beta=np.ones(3, np.float32))),
    ),
    Case(
        nn.silu,
        {"features": X, "beta": np.array([0.1, -1.0, 0.3, 2.0, 0.5])},
        label="beta",
        oracle=lambda tf, features, beta: features * tf.sigmoid(beta * features),
    ),
    Case(
        nn.dropout,
        {"x": X},
        {"rate": 0.4, "key": key()},
        batched=("x",),
        independent=False,
        bad=(
            bad("`x` must be floating point", TypeError, x=[1, 2]),
            bad(r"`rate` must be in \[0, 1\), got 1.0", rate=1.0),
            bad(r"`rate` must be in \[0, 1\), got -0.1", rate=-0.1),
            bad("`rate` must be of rank 0", rate=np.ones(2, np.float32)),
            bad("`key` must be a jax.random key", key=None),
            bad("`key` must be a jax.random key", TypeError, key=np.float32(3)),
            bad("`key` must be a single", key=jax.random.split(key())),
            bad("`noise_shape` must broadcast", noise_shape=(3,)),
            bad("`noise_shape` must broadcast", noise_shape=(1, 4, 5)),
            bad("`noise_shape` must be a static integer", TypeError, noise_shape=(0.5, 1)),
        ),
    ),
    Case(
        nn.dropout,
        {"x": IMAGE, "rate": np.array(0.25)},
        {"noise_shape": (None, 1, 1, None), "key": key()},
        label="noise_shape",
        # the scale is linear in the features only
        ulps=4,
    ),
    Case(
        nn.general_dropout,
        {"x": X},
        {"rate": 0.42, "uniform_sampler": sampler},
        oracle=lambda tf, x: tf.nn.experimental.general_dropout(
            x, 0.42, lambda shape, dtype: sampler(shape, dtype.as_numpy_dtype)
        ),
        bad=(
            bad("`uniform_sampler` must be callable", TypeError, uniform_sampler=3),
            bad(r"`uniform_sampler` must have shape \(4, 5\)", uniform_sampler=lambda shape, dtype: np.zeros(2, dtype)),
            bad(r"`rate` must be in \[0, 1\)", rate=2),
        ),
    ),
    Case(
        nn.stateless_dropout,
        {"x": X, "seed": np.array([1, 2], np.int32)},
        {"rate": 0.4},
        batched=("x",),
        independent=False,
        bad=(
            bad(r"`seed` must have shape \(2,\)", seed=np.array([1, 2, 3])),
            bad("`seed` must be an integer array", TypeError, seed=[0.5, 1.0]),
            bad("`seed` must be given, or else `key`, got neither", seed=None),
            bad("`seed` must be given, or else `key`, got both", key=key()),
            bad(
                "`rng_alg` must be None, 'auto_select' or 'threefry', got 'Philox', a generator that JAX has not",
                rng_alg="Philox",
            ),
            bad("`rng_alg` must be None, 'auto_select' or 'threefry', got 1, a generator", rng_alg=1),
            bad("`rng_alg` must be None, 'auto_select', 'threefry', 3 or 2, got 'mersenne'", rng_alg="mersenne"),
        ),
    ),
    Case(
        nn.bias_add,
        {"value": IMAGE, "bias": normal(5)},
        oracle=tf_function("bias_add"),
        batched=("value",),
        bad=(
            bad("`value` must be of rank at least 2", value=np.ones(5, np.float32)),
            bad(r"`bias` must have shape \(5,\)", bias=np.ones(4, np.float32)),
            bad("`data_format` must be 'N...C', 'NWC'", data_format="HWC"),
            bad("`bias` must be integer or floating point", TypeError, bias=np.ones(5, bool)),
        ),
    ),
    Case(
        nn.bias_add,
        {"value": IMAGE, "bias": normal(3)},
        {"data_format": "NCHW"},
        label="NCHW",
        oracle=tf_function("bias_add", data_format="NCHW"),
    ),
    Case(
        nn.bias_add,
        {"value": integers(-5, 5, 3, 4), "bias": integers(-5, 5, 4)},
        label="integers",
        oracle=tf_function("bias_add"),
    ),
    *(
        Case(
            op,
            {"x": normal(4, 3), "weights": normal(3, 5), "biases": normal(5)},
            oracle=lambda tf, op=op, **tensors: getattr(tf.compat.v1.nn, op.__name__)(**tensors),
            batched=("x",),
            bad=(
                bad("`x` must be of rank at least 2", x=np.ones(3, np.float32)),
                bad("`weights` must be of rank 2", weights=np.ones(3, np.float32)),
                bad("`weights` must have as many rows", weights=np.ones((4, 5), np.float32)),
                bad(r"`biases` must have shape \(5,\)", biases=np.ones(4, np.float32)),
            ),
        )
        for op in (nn.relu_layer, nn.xw_plus_b)
    ),
    Case(
        nn.zero_fraction,
        {"value": np.array([0.0, 1.0, 0.0, 2.0, -0.0, 3.0])},
        oracle=lambda tf, value: tf.nn.zero_fraction(value),
        result_dtypes=("float32",),
        order=0,
        bad=(bad("`value` must be an array", TypeError, value="x"),),
    ),
]
