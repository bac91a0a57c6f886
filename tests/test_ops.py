"""Every op under every transform: what the library promises of all of them."""

import functools
import inspect
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from jax.test_util import check_grads
from op_case import Bad, Case
from op_cases import CASES

import jnnops as nn

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
# The first case of each op goes through everything; of the others' transforms only those that the options can change.
FIRST = list({case.op.__name__: case for case in reversed(CASES)}.values())[::-1]
# One case of each op, the first that has second derivatives, is differentiated twice; the others once.
TWICE = list({case.op.__name__: case for case in reversed(CASES) if case.order == 2}.values())
# Of the rest every other one has its axes mapped, and those between have their 16-bit results checked.
OTHERS = [case for case in CASES if case not in FIRST]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
differentiable_case = pytest.mark.parametrize(
    "case", [case for case in CASES if case.order and case.gradient_names], ids=lambda case: case.id
)
first_case = pytest.mark.parametrize("case", FIRST, ids=lambda case: case.id)
first_differentiable_case = pytest.mark.parametrize(
    "case", [case for case in FIRST if case.order and case.gradient_names], ids=lambda case: case.id
)
batched_case = pytest.mark.parametrize("case", [case for case in CASES if case.batched], ids=lambda case: case.id)


def first_dtype(case: Case) -> Any:
    return jnp.float32 if "float32" in case.dtypes else jnp.dtype(case.dtypes[0])


def assert_same(actual: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Same structure, dtypes and values."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        if jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_allclose(a, e, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(a, e)


def split(case: Case, arrays: dict[str, Any]) -> tuple[list[Any], Any]:
    """The arrays to differentiate by, and ``f`` of them."""
    names = case.gradient_names

    def f(*values: Any) -> list[jax.Array]:
        return case.floats(**{**arrays, **dict(zip(names, values, strict=True))})

    return [arrays[name] for name in names], f


def gradient(case: Case, arrays: dict[str, Any]) -> dict[str, jax.Array]:
    """The gradient of the weighted sum of the results."""
    rest = {name: array for name, array in arrays.items() if name not in case.gradient_names}
    chosen = {name: arrays[name] for name in case.gradient_names}
    return jax.grad(lambda chosen: case.weighted_sum(**rest, **chosen))(chosen)


class TestApi:
    def test_every_op_has_a_case(self):
        ops = {getattr(nn, name).__name__ for name in nn.__all__ if inspect.isfunction(getattr(nn, name))}
        assert ops - {case.op.__name__ for case in CASES} == set()

    @pytest.mark.parametrize("name", [name for name in nn.__all__ if inspect.isfunction(getattr(nn, name))])
    def test_signature_and_docstring_follow_the_conventions(self, name):
        op = getattr(nn, name)
        parameters = inspect.signature(op).parameters
        assert not {"name", "use_cudnn_on_gpu", "parallel_iterations", "swap_memory"} & set(parameters)
        assert "key" not in parameters or parameters["key"].kind is inspect.Parameter.KEYWORD_ONLY
        for section in ("Args:", "Returns:", "Raises:", "Example:", "References:", ">>> "):
            assert section in (op.__doc__ or ""), section
        assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters.values())


class TestOracle:
    @pytest.mark.parametrize("case", [case for case in CASES if case.oracle], ids=lambda case: case.id)
    def test_values_and_gradients_are_those_of_tensorflow(self, case):
        import oracle

        assert case.oracle is not None
        rtol = case.tolerance or (1e-10 if case.oracle_dtype == "float64" else 2e-5)
        with jax.enable_x64(True):
            arrays = case.cast(case.oracle_dtype)
            given = {name: np.asarray(array) for name, array in arrays.items()}
            expected = oracle.values(case.oracle, given)
            actual = jax.tree.leaves(case(**arrays))
            assert len(actual) == len(expected)
            for a, e in zip(actual, expected, strict=True):
                assert a.shape == e.shape
                np.testing.assert_allclose(np.asarray(a), e, rtol=rtol, atol=rtol)
            if case.order and case.oracle_gradient and case.gradient_names:
                expected = oracle.gradients(case.oracle, given, case.gradient_names)
                actual = gradient(case, arrays)
                for name, e in zip(case.gradient_names, expected, strict=True):
                    np.testing.assert_allclose(actual[name], e, rtol=10 * rtol, atol=10 * rtol, err_msg=name)


class TestTransforms:
    @every_case
    def test_jit_equals_eager(self, case):
        arrays = case.cast(first_dtype(case))
        expected = case(**arrays)
        assert_same(jax.jit(case.__call__)(**arrays), expected)
        shapes = jax.eval_shape(case.__call__, **arrays)
        for shape, leaf in zip(jax.tree.leaves(shapes), jax.tree.leaves(expected), strict=True):
            assert (shape.shape, shape.dtype) == (leaf.shape, leaf.dtype)

    @pytest.mark.parametrize("case", FIRST + OTHERS[::2], ids=lambda case: case.id)
    def test_vmap_equals_a_loop(self, case):
        arrays = case.cast(first_dtype(case))
        other = {
            name: jnp.roll(array, 1, 0) if array.ndim else (array * 0.75).astype(array.dtype)
            for name, array in arrays.items()
        }
        each = [(name,) for name in arrays] if case in FIRST or len(arrays) == 1 else []
        for names in each + ([tuple(arrays)] if len(arrays) > 1 else []):
            # one argument along its last axis, the others along their first
            axes = {name: -1 if name == names[0] else 0 for name in names}
            stacked = {name: jnp.stack([arrays[name], other[name]], axes[name]) for name in names}
            rest = {name: array for name, array in arrays.items() if name not in names}
            mapped = jax.vmap(lambda chosen, rest=rest: case(**chosen, **rest), in_axes=(axes,))
            actual = jax.jit(mapped)(stacked)
            loop = [case(**{**arrays, **{name: source[name] for name in names}}) for source in (arrays, other)]
            assert_same(actual, jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop))

    @differentiable_case
    def test_derivatives_are_right_to_second_order_in_both_modes(self, case):
        with jax.enable_x64(True):
            values, f = split(case, case.cast(jnp.float64))
            order = case.order if case in TWICE else 1
            check_grads(jax.jit(f), values, order=order, modes=("fwd", "rev"), atol=1e-4, rtol=1e-4, eps=1e-5)

    @first_differentiable_case
    def test_jit_of_grad_equals_grad(self, case):
        arrays = case.cast(first_dtype(case))
        assert_same(jax.jit(functools.partial(gradient, case))(arrays), gradient(case, arrays))

    @first_differentiable_case
    def test_vmap_of_grad_equals_a_loop(self, case):
        arrays = case.cast(first_dtype(case))
        stacked = {
            name: jnp.stack([array, jnp.roll(array, 1, 0) if array.ndim else array]) for name, array in arrays.items()
        }
        actual = jax.jit(jax.vmap(functools.partial(gradient, case)))(stacked)
        loop = [gradient(case, {name: array[i] for name, array in stacked.items()}) for i in range(2)]
        assert_same(actual, jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop), rtol=1e-4, atol=1e-5)

    @first_differentiable_case
    def test_gradient_in_a_rematerialised_scan_equals_grad(self, case):
        arrays = case.cast(first_dtype(case))

        def total(arrays):
            body = jax.checkpoint(lambda carry, _: (carry + case.weighted_sum(**arrays), None))
            start = jnp.zeros((), jax.eval_shape(case.weighted_sum, **arrays).dtype)
            return jax.lax.scan(body, start, None, length=2)[0]

        chosen = {name: arrays[name] for name in case.gradient_names}
        actual = jax.jit(jax.grad(lambda chosen: total({**arrays, **chosen})))(chosen)
        expected = jax.tree.map(lambda leaf: 2 * leaf, gradient(case, arrays))
        assert_same(actual, expected, rtol=1e-4, atol=1e-5)

    @first_case
    def test_export_round_trip(self, case):
        arrays = case.cast(first_dtype(case))
        f = jax.jit(lambda arrays: jax.tree.leaves(case(**arrays)))
        differentiable = bool(case.order and case.gradient_names)
        data = jax.export.export(f)(arrays).serialize(vjp_order=int(differentiable))
        assert_same(jax.export.deserialize(data).call(arrays), f(arrays))


class TestDtypes:
    @pytest.mark.parametrize(
        ("case", "dtype"),
        [
            (case, dtype)
            for case in FIRST + OTHERS[1::2]
            if case.float_names
            for dtype in case.dtypes
            if case in FIRST or dtype == "bfloat16"
        ],
        ids=lambda value: value.id if isinstance(value, Case) else value,
    )
    def test_results_keep_the_dtype_and_its_precision(self, case, dtype):
        with jax.enable_x64(True):
            arrays = case.cast(dtype)
            results = jax.tree.leaves(case(**arrays))
            exact = (
                jax.tree.leaves(
                    case(
                        **{
                            name: array.astype(jnp.float64) if name in case.float_names else array
                            for name, array in arrays.items()
                        }
                    )
                )
                if "float64" in case.dtypes
                else results
            )
            wanted = case.result_dtypes or [
                dtype if jnp.issubdtype(result.dtype, jnp.floating) else str(result.dtype) for result in results
            ]
            for result, reference, name in zip(results, exact, wanted, strict=True):
                assert result.dtype == jnp.dtype(name)
                if jnp.issubdtype(result.dtype, jnp.floating) and reference.size:
                    reference = np.asarray(reference, np.float64)
                    ulps = case.ulps if dtype in ("float16", "bfloat16") else 100
                    atol = ulps * EPSILON[str(result.dtype)] * max(np.abs(reference[np.isfinite(reference)]), default=1)
                    np.testing.assert_allclose(np.asarray(result, np.float64), reference, rtol=0, atol=atol)


class TestArguments:
    @first_case
    def test_lists_are_taken_like_arrays(self, case):
        arrays = case.cast(jnp.float32)
        lists = {name: np.asarray(array).tolist() for name, array in arrays.items()}
        assert_same(case(**lists), case(**arrays))

    @pytest.mark.parametrize(
        ("case", "wrong"),
        [(case, wrong) for case in CASES for wrong in case.bad],
        ids=lambda value: value.id if isinstance(value, Case) else "-".join(value.change),
    )
    def test_bad_argument_is_refused(self, case: Case, wrong: Bad):
        arguments = {**case.cast(first_dtype(case)), **case.static, **wrong.change}
        with pytest.raises(wrong.error, match=wrong.match) as raised:
            case.op(**arguments)
        assert str(raised.value).startswith(f"{case.op.__name__}: ")


class TestBatch:
    @batched_case
    def test_empty_batch(self, case):
        arrays = case.cast(first_dtype(case))
        full = case(**arrays)
        for name in case.batched:
            arrays[name] = jax.lax.slice_in_dim(arrays[name], 0, 0, axis=case.batch_axis)
        for leaf, like in zip(jax.tree.leaves(case(**arrays)), jax.tree.leaves(full), strict=True):
            assert leaf.dtype == like.dtype
            assert leaf.size == 0
            assert leaf.ndim == like.ndim
        if case.order and case.gradient_names:
            for found in gradient(case, arrays).values():
                np.testing.assert_array_equal(found, np.zeros(found.shape))

    @batched_case
    def test_sharded_batch_needs_no_all_gather(self, case):
        mesh, arrays, specs = self.shard(case)
        shardings = {name: jax.sharding.NamedSharding(mesh, spec) for name, spec in specs.items()}
        f = jax.jit(lambda arrays: case(**arrays), in_shardings=(shardings,))
        assert "all-gather" not in (f.lower(arrays).compile().as_text() or "")
        assert_same(f(arrays), case(**arrays))

    @pytest.mark.parametrize(
        "case", [case for case in CASES if case.batched and case.independent], ids=lambda case: case.id
    )
    def test_shard_map_equals_the_whole(self, case):
        mesh, arrays, specs = self.shard(case)
        out = PartitionSpec(*(None,) * case.batch_axis, "batch")

        def f(arrays):
            return jax.tree.leaves(case(**arrays))

        sharded = jax.shard_map(f, mesh=mesh, in_specs=(specs,), out_specs=out)
        assert_same(jax.jit(sharded)(arrays), f(arrays))
        if case.order and case.gradient_names:
            chosen = {name: arrays[name] for name in case.gradient_names}

            def total(f, chosen):
                leaves = [leaf for leaf in f({**arrays, **chosen}) if jnp.issubdtype(leaf.dtype, jnp.floating)]
                return sum((jnp.sum(jnp.sin(leaf)) for leaf in leaves), jnp.zeros((), leaves[0].dtype))

            actual = jax.jit(jax.grad(functools.partial(total, sharded)))(chosen)
            assert_same(actual, jax.grad(functools.partial(total, f))(chosen), rtol=1e-4, atol=1e-5)

    @staticmethod
    def shard(case):
        """The arguments with a batch of 8, the mesh to split it on and how."""
        mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        arrays = case.cast(first_dtype(case))
        for name in case.batched:
            repeats = np.arange(8) % arrays[name].shape[case.batch_axis]
            arrays[name] = jnp.take(arrays[name], repeats, axis=case.batch_axis)
        split = PartitionSpec(*(None,) * case.batch_axis, "batch")
        return mesh, arrays, {name: split if name in case.batched else PartitionSpec() for name in arrays}
