"""Transformations and gradients that cannot be applied by rows are refused."""

import jax.numpy as jnp
import optax
import pytest
from rooms.sparse.training_by_rows import DIM, ROWS, STEPS, loss, parameters, relaxed, tables, train, update

from jnnops.sparse import IndexedSlices, lazy, value_and_grad

CLIP = "It does so only where gradients are large, as clipping does: .* nn.sparse.clip_by_global_norm"
LEAVE_OUT = "Choose another, or leave the table out of `tables`"


class TestRefusals:
    @pytest.mark.parametrize(
        ("transform", "options", "message"),
        [
            (optax.adam, {}, "`transform` must be an optax.GradientTransformation, got function"),
            (optax.adam(0.1), {"tables": "t"}, r"`tables` must be callable as tables\(params\), got str"),
            (optax.adam(0.1), {"catch_up": "yes"}, "`catch_up` must be True or False, got 'yes'"),
        ],
    )
    def test_arguments_of_the_wrong_kind(self, transform, options, message):
        with pytest.raises(TypeError, match=f"sparse.lazy: {message}"):
            lazy(transform, **{"tables": tables} | options)

    @pytest.mark.parametrize(
        ("transform", "advice"),
        [
            (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), CLIP),
            (optax.chain(optax.clip_by_global_norm(1e9), optax.adam(0.1)), CLIP),
            (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(optax.linear_schedule(0.0, 1.0, 10))), CLIP),
            (optax.clip_by_block_rms(1.0), CLIP),
            (optax.adaptive_grad_clip(0.1), CLIP),
            (optax.lamb(0.1), LEAVE_OUT),
            (optax.adafactor(0.1), CLIP),
            (optax.apply_if_finite(optax.sgd(0.1), 3), LEAVE_OUT),
        ],
        ids=["clip", "rare clip", "clip in warm-up", "block", "adaptive clip", "lamb", "adafactor", "finite"],
    )
    def test_rows_that_depend_on_each_other(self, transform, advice):
        reason = "must treat each row of a table by itself, but .* depends on other rows"
        with pytest.raises(ValueError, match=f"{reason}. {advice}"):
            train(lazy(relaxed(transform), tables=tables), parameters(), STEPS[:1])

    def test_factored_state(self):
        params = {"t": jnp.zeros((300, 128))}
        transform = optax.scale_by_factored_rms()
        optimizer = lazy(relaxed(transform), tables=lambda params: params["t"])
        grads = {"t": IndexedSlices(jnp.array([1]), jnp.ones((1, 128)), 300)}
        with pytest.raises(ValueError, match="must treat each row"):
            update(optimizer, grads, optimizer.init(params), params)

    def test_state_that_is_not_made_of_rows(self):
        with pytest.raises(
            ValueError, match=r"must keep its state of a table in rows .* got an array of shape \(89,\)"
        ):
            train(lazy(optax.flatten(optax.sgd(0.1, 0.9)), tables=tables), parameters(), STEPS[:1])

    @pytest.mark.parametrize(
        "transform", [optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(), optax.apply_every(2)]
    )
    def test_updates_that_come_later(self, transform):
        with pytest.raises(ValueError, match="sparse.lazy: `transform` must apply each gradient in its own step"):
            train(lazy(relaxed(transform), tables=tables), parameters(), STEPS[:1])

    def test_gradients_that_do_not_fit_tables(self):
        params = parameters()
        _, grads = value_and_grad(loss, tables=tables)(params, STEPS[0])
        optimizer = lazy(optax.sgd(0.1), tables=tables)
        state = optimizer.init(params)
        with pytest.raises(
            ValueError, match=r"gradient of `params\['classes'\]` must be IndexedSlices, .* got an array"
        ):
            optimizer.update({**grads, "classes": grads["classes"].to_dense()}, state, params)
        with pytest.raises(ValueError, match=r"gradient of `params\['dense'\]` must be an array, .* got IndexedSlices"):
            optimizer.update({**grads, "dense": grads["classes"]}, state, params)
        with pytest.raises(ValueError, match=r"must be slices of an array of shape \(5,\), got 20 rows"):
            optimizer.update(grads, state, {**params, "biases": jnp.zeros(5)})
        with pytest.raises(ValueError, match="sparse.lazy: `state` must be what `init` or `update` returned"):
            optimizer.update(grads, optax.adam(0.1).init(params), params)
        longer = {**params, "classes": jnp.zeros((2 * ROWS, DIM))}
        for options, name in ({}, r"state\[0\].trace\['classes'\]"), ({"catch_up": True}, "state.inner"):
            momentum = lazy(optax.sgd(0.1, 0.9), tables=tables, **options)
            with pytest.raises(ValueError, match=rf"sparse.lazy: `{name}.* must have shape \({ROWS}, {DIM}\)"):
                momentum.update(grads, momentum.init(longer), params)
        with pytest.raises(ValueError, match="sparse.lazy: `tables` must return at least one leaf"):
            lazy(optax.sgd(0.1), tables=lambda params: []).update(grads, state, params)
