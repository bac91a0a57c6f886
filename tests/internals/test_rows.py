"""The pair of primitives that every lookup goes through: values, derivatives, batching, sharding and precision."""

import functools
import itertools
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from jax.test_util import check_grads
from machinery.case import normal

from jnnops._tables.ids import in_range
from jnnops._tables.rows import add_rows, take_rows

TABLE = normal(5, 3)
IDS = np.array([[4, 0, 4], [1, -1, 5]], np.int32)
ROWS = normal(2, 3, 3, seed=1)


def taken(table, ids):
    """``take_rows`` by a loop."""
    rows = np.zeros((*ids.shape, *table.shape[1:]), table.dtype)
    for place in np.ndindex(ids.shape):
        if 0 <= ids[place] < len(table):
            rows[place] = table[ids[place]]
    return rows


def added(rows, ids, num_rows):
    """``add_rows`` by a loop."""
    table = np.zeros((num_rows, *rows.shape[ids.ndim :]), rows.dtype)
    for place in np.ndindex(ids.shape):
        if 0 <= ids[place] < num_rows:
            table[ids[place]] += rows[place]
    return table


def mesh():
    return jax.make_mesh((8,), ("devices",), axis_types=(jax.sharding.AxisType.Auto,))


class TestValues:
    @pytest.mark.parametrize("row_shape", [(), (3,), (2, 3)])
    @pytest.mark.parametrize("ids", [IDS, IDS[0], IDS[0, 0], IDS[:, :0]], ids=lambda ids: str(ids.shape))
    def test_are_those_of_a_loop(self, row_shape, ids):
        ids = np.asarray(ids)
        table = normal(5, *row_shape).astype(np.float32)
        rows = normal(*ids.shape, *row_shape, seed=1).astype(np.float32)

        @jax.jit
        def both(table, rows, ids):
            return take_rows(table, ids), add_rows(rows, ids, 5)

        found_rows, found_table = both(table, rows, ids)
        np.testing.assert_array_equal(found_rows, taken(table, ids))
        np.testing.assert_allclose(found_table, added(rows, ids, 5), rtol=1e-6)

    def test_a_table_without_rows(self):
        table, ids = jnp.zeros((0, 3)), jnp.asarray(IDS)
        rows, pull_back = jax.vjp(lambda table: take_rows(table, ids), table)
        np.testing.assert_array_equal(rows, np.zeros((2, 3, 3)))
        assert pull_back(rows)[0].shape == (0, 3)

    def test_rows_without_elements(self):
        assert take_rows(jnp.zeros((5, 0)), jnp.asarray(IDS)).shape == (2, 3, 0)
        assert add_rows(jnp.zeros((2, 3, 0)), jnp.asarray(IDS), 5).shape == (5, 0)

    @pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int32])
    def test_tables_of_integers(self, dtype):
        table = jnp.arange(15, dtype=dtype).reshape(5, 3)
        rows = take_rows(table, jnp.array([4, 7]))
        assert rows.dtype == dtype
        assert rows.tolist() == [[12, 13, 14], [0, 0, 0]]
        # and beside what is differentiated
        tangents = (jnp.float32(3), np.zeros(table.shape, jax.dtypes.float0))
        _, found = jax.jvp(
            lambda x, t: x * take_rows(t, jnp.array([4])).astype(x.dtype), (jnp.float32(2), table), tangents
        )
        assert found.tolist() == [[36, 39, 42]]

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
    def test_ids_of_any_integer_dtype(self, dtype):
        with jax.enable_x64(np.dtype(dtype).itemsize == 8):
            top = np.iinfo(dtype).max
            ids = np.array([7, 100, top], dtype)
            table = jnp.arange(300, dtype=jnp.float32)
            expected = [7, 100, int(top) if top < 300 else 0]
            assert take_rows(table, jnp.asarray(ids)).tolist() == expected
            assert add_rows(jnp.ones(3), jnp.asarray(ids), 300).sum() == 2 + (top < 300)
            assert in_range(jnp.asarray(ids), 300).tolist() == [True, True, top < 300]

    def test_more_rows_than_ids_can_count(self):
        assert in_range(jnp.array([-1, 0, 2**31 - 1]), 2**40).tolist() == [False, True, True]

    def test_infinities_and_nan_of_other_rows_do_not_leak(self):
        table = jnp.array([[np.inf], [np.nan], [1.0]])
        assert take_rows(table, jnp.array([-1, 2, 3])).tolist() == [[0], [1], [0]]
        assert add_rows(table, jnp.array([-1, 7, 1]), 2).tolist() == [[0], [1]]


class TestPrecision:
    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
    # tables that are small or large compared with the ids have different lowerings
    @pytest.mark.parametrize("num_rows", [3, 30_000])
    def test_16_bits_are_summed_in_float32_and_rounded_once(self, dtype, num_rows):
        # in bfloat16 a sum of ones would stop at 256
        ids = jnp.asarray(np.arange(10_002) % 2 * 2)
        rows = jnp.ones((10_002, 2), dtype)
        table = jax.jit(add_rows, static_argnums=2)(rows, ids, num_rows)
        assert table.dtype == dtype
        assert table[:3].tolist() == [[jnp.asarray(5001, dtype)] * 2, [0, 0], [jnp.asarray(5001, dtype)] * 2]
        assert not table[3:].any()

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
    @pytest.mark.parametrize("num_rows", [5, 64])
    def test_small_and_large_tables_get_the_same(self, dtype, num_rows):
        rows = np.asarray(jnp.asarray(ROWS, dtype), np.float64)
        table = add_rows(jnp.asarray(ROWS, dtype), jnp.asarray(IDS), num_rows)
        expected = jnp.asarray(added(rows, IDS, num_rows), jnp.float32).astype(dtype)
        np.testing.assert_allclose(table.astype(jnp.float32), expected.astype(jnp.float32), rtol=1e-6)


class TestDerivatives:
    # rows of a table, and numbers of a vector such as the biases of a sampled loss
    @pytest.mark.parametrize("row_shape", [(), (3,)])
    def test_of_both_to_second_order_in_both_modes(self, row_shape):
        ids = jnp.asarray(IDS)

        def both(table, rows):
            return jnp.sin(take_rows(table, ids)), jnp.sin(add_rows(rows, ids, 5))

        with jax.enable_x64(True):
            given = jnp.asarray(normal(5, *row_shape)), jnp.asarray(normal(2, 3, *row_shape))
            check_grads(jax.jit(both), given, order=2, atol=1e-4, rtol=1e-4)

    def test_each_is_the_transpose_of_the_other(self):
        ids, table, rows = jnp.asarray(IDS), jnp.asarray(TABLE, jnp.float32), jnp.asarray(ROWS, jnp.float32)
        (found,) = jax.linear_transpose(lambda table: take_rows(table, ids), table)(rows)
        np.testing.assert_array_equal(found, add_rows(rows, ids, 5))
        (found,) = jax.linear_transpose(lambda rows: add_rows(rows, ids, 5), rows)(table)
        np.testing.assert_array_equal(found, take_rows(table, ids))

    def test_hessian_checkpoint_and_scan(self):
        ids, table = jnp.asarray(IDS), jnp.asarray(TABLE, jnp.float32)

        def energy(table):
            return jnp.sum(take_rows(table, ids) ** 3)

        def in_loop(table):
            body = jax.checkpoint(lambda total, ids: (total + jnp.sum(take_rows(table, ids) ** 3), None))
            return jax.lax.scan(body, jnp.float32(0), ids)[0]

        count = added(np.ones((2, 3)), IDS, 5)
        diagonal = np.diagonal(jax.jit(jax.hessian(energy))(table).reshape(15, 15)).reshape(5, 3)
        np.testing.assert_allclose(diagonal, 6 * count[:, None] * table, rtol=1e-5)
        np.testing.assert_allclose(jax.jit(jax.grad(in_loop))(table), 3 * count[:, None] * table**2, rtol=1e-5)

    def test_of_an_unused_result_is_nothing(self):
        gradient = jax.jit(jax.grad(lambda table: jnp.sum(table) + 0 * take_rows(table, jnp.array(1))[0]))(
            jnp.asarray(TABLE)
        )
        np.testing.assert_array_equal(gradient, np.ones((5, 3)))


class TestBatching:
    @pytest.mark.parametrize(
        "axes", [axes for axes in itertools.product((None, 0, 1, -1), (None, 0, -1)) if axes != (None, None)]
    )
    def test_each_mapped_over_any_axis_equals_a_loop(self, axes):
        def stack(array, axis):
            array = jnp.asarray(array, jnp.float32 if array.dtype == np.float64 else None)
            return array if axis is None else jnp.stack([array, jnp.flip(array), array[::-1]], axis)

        def part(array, axis, number):
            return array if axis is None else jnp.take(array, number, axis)

        pair: Any = (take_rows, functools.partial(add_rows, num_rows=5))

        def mapped_and_loops(f, out_axis, *arrays):
            loop = [f(*map(part, arrays, axes, (number, number))) for number in range(3)]
            return jax.vmap(f, axes, out_axis)(*arrays), jnp.stack(loop, out_axis)

        @jax.jit
        def results(ids, *firsts):
            stacks = [[stack(array, axis) for array, axis in zip((first, ids), axes, strict=True)] for first in firsts]
            calls = zip(pair, stacks, strict=True)
            return [mapped_and_loops(f, out_axis, *arrays) for f, arrays in calls for out_axis in (0, 1)]

        for actual, expected in results(IDS, TABLE, ROWS):
            np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_twice(self):
        tables, ids = jnp.asarray(normal(2, 4, 5, 3), jnp.float32), jnp.stack([jnp.asarray(IDS)] * 4)
        actual = jax.jit(jax.vmap(jax.vmap(take_rows), (0, None)))(tables, ids)
        expected = [[taken(np.asarray(table), IDS) for table in four] for four in tables]
        np.testing.assert_array_equal(actual, expected)

    def test_of_gradients_equals_a_loop(self):
        tables = jnp.asarray(normal(3, 5, 3), jnp.float32)
        ids = jnp.stack([jnp.asarray(np.roll(IDS, n)) for n in range(3)])
        gradient = jax.grad(lambda table, ids: jnp.sum(take_rows(table, ids) ** 2))
        actual = jax.jit(jax.vmap(gradient))(tables, ids)
        np.testing.assert_allclose(actual, [gradient(*pair) for pair in zip(tables, ids, strict=True)], rtol=1e-6)

    def test_too_many_rows_for_the_dtype_of_the_ids_are_refused(self):
        tables, ids = jax.ShapeDtypeStruct((2**16, 2**15, 1), jnp.int8), jax.ShapeDtypeStruct((2**16, 1), jnp.int8)
        with pytest.raises(ValueError, match="65536 tables of 32768 rows .* more rows in all than int32 can count"):
            jax.eval_shape(jax.vmap(take_rows), tables, ids)


class TestSharding:
    def test_ids_split_over_devices(self):
        table, ids = jnp.asarray(TABLE, jnp.float32), jnp.asarray(np.arange(16) % 7 - 1)

        def total(rows):
            return jnp.sum(jnp.sin(rows))

        sharded = jax.shard_map(
            take_rows,
            mesh=mesh(),
            in_specs=(PartitionSpec(), PartitionSpec("devices")),
            out_specs=PartitionSpec("devices"),
        )

        def rows_and_derivatives(f):
            @jax.jit
            def run(table):
                derivatives = [mode(lambda table: total(f(table, ids)))(table) for mode in (jax.grad, jax.hessian)]
                return f(table, ids), *derivatives

            return run(table)

        (rows, *derivatives), (expected, *expected_derivatives) = map(rows_and_derivatives, (sharded, take_rows))
        np.testing.assert_array_equal(rows, expected)
        for pair in zip(derivatives, expected_derivatives, strict=True):
            np.testing.assert_allclose(*pair, atol=1e-5)

    @pytest.mark.parametrize(("num_rows", "features", "num_ids"), [(0, 3, 16), (5, 3, 0), (5, 0, 16)])
    def test_nothing_to_look_up(self, num_rows, features, num_ids):
        table, ids = jnp.zeros((num_rows, features)), jnp.zeros(num_ids, jnp.int32)
        split = PartitionSpec("devices")
        sharded = jax.shard_map(take_rows, mesh=mesh(), in_specs=(PartitionSpec(), split), out_specs=split)
        value, gradient = jax.jit(jax.value_and_grad(lambda table: jnp.sum(sharded(table, ids))))(table)
        assert value == 0
        assert gradient.shape == table.shape

    def test_table_split_over_devices(self):
        table, ids = jnp.asarray(normal(16, 3), jnp.float32), jnp.asarray(np.arange(20) % 18)

        def local(part, ids):
            first = jax.lax.axis_index("devices") * part.shape[0]
            return jax.lax.psum(take_rows(part, ids - first), "devices")

        sharded = jax.shard_map(
            local, mesh=mesh(), in_specs=(PartitionSpec("devices"), PartitionSpec()), out_specs=PartitionSpec()
        )
        np.testing.assert_array_equal(jax.jit(sharded)(table, ids), take_rows(table, ids))
        gradients = [jax.jit(jax.grad(lambda t, f=f: jnp.sum(jnp.sin(f(t, ids)))))(table) for f in (sharded, take_rows)]
        np.testing.assert_allclose(*gradients, rtol=1e-5)

    def test_add_rows_of_which_either_argument_is_split(self):
        rows, ids = jnp.ones((16, 2)), np.arange(16) % 3
        split, whole = PartitionSpec("devices"), PartitionSpec()

        def local(rows, ids):
            return jax.lax.psum(add_rows(rows, ids, 3), "devices")

        for rows_spec, ids_spec in ((split, split), (split, whole), (whole, split)):
            rows_given = rows if rows_spec == split else rows[:2]
            ids_given, all_ids = (ids, ids) if ids_spec == split else (ids[:2], np.tile(ids[:2], 8))
            sharded = jax.jit(jax.shard_map(local, mesh=mesh(), in_specs=(rows_spec, ids_spec), out_specs=whole))
            np.testing.assert_array_equal(sharded(rows_given, ids_given), added(np.ones((16, 2)), all_ids, 3))

    @pytest.mark.parametrize("spec", [PartitionSpec("devices"), PartitionSpec(None, "devices")])
    def test_table_split_by_the_compiler(self, spec):
        table, ids = jnp.asarray(normal(16, 8), jnp.float32), jnp.asarray(np.arange(20) % 18)
        placed = jax.device_put(table, NamedSharding(mesh(), spec))
        f: Any = jax.jit(jax.value_and_grad(lambda table: jnp.sum(jnp.sin(take_rows(table, ids)))))
        for actual, expected in zip(f(placed), f(table), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-5)


class TestLowering:
    def test_export_with_derivatives(self):
        ids, table = jnp.asarray(IDS), jnp.asarray(TABLE, jnp.float32)
        data = jax.export.export(jax.jit(take_rows))(table, ids).serialize(vjp_order=2)
        call = jax.export.deserialize(data).call
        np.testing.assert_array_equal(call(table, ids), take_rows(table, ids))
        gradients = [
            jax.jit(jax.grad(lambda t, f=f: jnp.sum(jax.grad(lambda t: jnp.sum(f(t, ids) ** 3))(t) ** 2)))(table)
            for f in (call, take_rows)
        ]
        np.testing.assert_allclose(*gradients, rtol=1e-6)

    @pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
    def test_for_every_platform(self, platform):
        ids = jnp.asarray(IDS)
        for num_rows in (5, 64):
            table = jnp.zeros((num_rows, 3), jnp.bfloat16)
            gradient = jax.jit(jax.grad(lambda table: jnp.sum(take_rows(table, ids))))
            text = gradient.trace(table).lower(lowering_platforms=(platform,)).as_text()
            assert "scatter" in text

    def test_large_tables_of_16_bits_need_no_float32_table(self):
        rows, ids = jnp.ones((8, 16), jnp.bfloat16), jnp.arange(8)
        text = jax.jit(add_rows, static_argnums=2).lower(rows, ids, 1000).as_text()
        assert "1000x16xbf16" in text
        assert "1000x16xf32" not in text
