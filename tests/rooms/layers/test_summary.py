"""Models looked at: the repr of a layer, and the table of a model's layers."""

import dataclasses
import functools
import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.tree_util import keystr, tree_leaves_with_path

import jnnops as nn
from jnnops import layers

KEY = jax.random.key(0)


def dense(in_features, features):
    return layers.Dense(kernel=jnp.ones((in_features, features)), bias=jnp.ones(features))


def shape(dims, dtype: Any = jnp.float32):
    return jax.ShapeDtypeStruct(dims, dtype)


@layers.layer
class Anything:
    x: Any
    size: int = layers.static(default=1)
    how: Any = layers.static(default=None)
    hidden: int = layers.static(default=0, repr=False)


@layers.layer
class Named:
    x: Any

    def __repr__(self):
        return "mine"


class Base:
    def __repr__(self):
        return "mine,\ntoo"


@layers.layer
class Derived(Base):
    x: Any


class TestRepr:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (jnp.ones((2, 3)), "float32[2,3]"),
            (np.ones((2, 0), np.int8), "int8[2,0]"),
            (shape((4,), jnp.bfloat16), "bfloat16[4]"),
            (jax.random.split(KEY), "key<fry>[2]"),
            (np.float32(0.5), "np.float32(0.5)"),
            (0.5, "0.5"),
            (True, "True"),
            (None, "None"),
            ("name", "'name'"),
            (jnp.float32, "float32"),
            (jnp.tanh, "tanh"),
            ((jnp.int32(1),), "(int32[],)"),
            ([1, (), {"a": jnp.ones(2)}], "[1, (), {'a': float32[2]}]"),
            (layers.BatchNormState(jnp.ones(2), jnp.ones(2)), "BatchNormState(mean=float32[2], variance=float32[2])"),
            (dense(2, 3), "Dense(kernel=float32[2,3], bias=float32[3])"),
            (Named(x=1), "mine"),
        ],
    )
    def test_has_shapes_and_dtypes_and_no_numbers(self, value, text):
        assert repr(Anything(x=value)) == f"Anything(x={text})"

    def test_of_settings_leaves_the_defaults_out(self):
        assert repr(Anything(x=1, size=1, how=None, hidden=1)) == "Anything(x=1)"
        assert repr(Anything(x=1, size=True, how=nn.relu)) == "Anything(x=1, size=True, how=relu)"
        assert repr(layers.Dense(kernel=jnp.ones((1, 2)))) == "Dense(kernel=float32[1,2])"

    def test_of_tracers_and_of_donated_arrays(self):
        seen = []
        jax.vmap(jax.jit(lambda layer: seen.append(repr(layer))))(Anything(x=jnp.ones((2, 3))))
        assert seen == ["Anything(x=float32[3])"]
        given = Anything(x=jnp.ones(3))
        jax.jit(lambda layer: layer, donate_argnums=0)(given)
        assert repr(given) == "Anything(x=float32[3])"

    def test_is_indented_if_long(self):
        model = Anything(x=(dense(1000, 1000), Anything(x=Named(x=1), how="a setting of some length")), size=8)
        assert repr(model).splitlines() == [
            "Anything(",
            "  x=(",
            "    Dense(kernel=float32[1000,1000], bias=float32[1000]),",
            "    Anything(x=mine, how='a setting of some length'),",
            "  ),",
            "  size=8,",
            ")",
        ]
        lines = repr(Anything(x=(model,))).splitlines()
        assert lines[1:3] + lines[-3:] == ["  x=(", "    Anything(", "    ),", "  ),", ")"]
        assert repr(Anything(x=(Derived(x=1),))) == "Anything(\n  x=(\n    mine,\n    too,\n  ),\n)"

    def test_is_short_up_to_80_columns(self):
        longest: dict[str, Any] = {"x": "a" * (80 - len("Anything(x='')"))}
        assert len(repr(Anything(**longest))) == 80
        assert repr(Anything(x="b" + longest["x"])).count("\n") == 2
        inner = Anything(x="a" * (80 - len("  x=Anything(x=''),")))
        assert max(map(len, repr(Anything(x=inner)).splitlines())) == 80
        assert repr(Anything(x=Anything(x="b" + inner.x))).count("\n") == 4


def rows_of(table) -> dict[str, Any]:
    return {row.path: row for row in table.rows}


def shapes_in(row) -> list[list[tuple[int, ...]]]:
    """The shapes in each output."""
    return [[leaf.shape for leaf in jax.tree.leaves(output)] for output in row.outputs]


@layers.layer
class Shaped:
    """Looks like an array."""

    shape: jax.Array
    dtype: Any

    def encode(self, x):
        return x[0] * self.shape


class TestArrays:
    def test_every_leaf_is_in_one_row(self):
        model: Any = {
            "rnn": layers.RNN(cell=jax.eval_shape(lambda: layers.LSTMCell.init(4, 3, key=KEY))),
            "others": [dense(2, 3), (Anything(x={"deep": dense(3, 4), "own": np.ones(5, np.int8)}), 2.5)],
            "table": jnp.ones((6, 2), jnp.bfloat16),
            "key": KEY,
            "nothing": None,
            "name": "of a leaf that is no array",
        }
        table = layers.summary(model)
        actual = {
            row.path + "." * (row.path != "") + name: array for row in table.rows for name, array in row.arrays.items()
        }
        leaves = {keystr(path): leaf for path, leaf in tree_leaves_with_path(model) if not isinstance(leaf, str)}
        assert actual == {path: shape(np.shape(leaf), jnp.result_type(leaf)) for path, leaf in leaves.items()}
        assert table.parameters == sum(math.prod(np.shape(leaf)) for leaf in leaves.values())
        assert table.nbytes == 4 * (7 * 12 + 12) + 4 * (2 * 3 + 3) + 4 * (3 * 4 + 4) + 5 + 4 + 2 * 12 + 8
        assert [row.layer for row in table.rows] == ["dict", "Dense", "Anything", "Dense", "RNN", "LSTMCell"]
        assert not any(row.outputs for row in table.rows)

    def test_an_array_at_two_paths_is_counted_twice_and_named(self):
        one = dense(2, 3)
        assert layers.summary((one, one)).parameters == 18
        assert layers.summary((one, one)).repeated == 9
        assert str(layers.summary((one, one))).endswith(
            "\n9 of them counted again: their arrays stand at several paths"
        )
        assert layers.summary((one, dense(2, 3))).repeated == 0

    @pytest.mark.parametrize(
        ("count", "text"), [(1023, "1023 bytes"), (1024, "1.0 KiB"), (3 * 2**19, "1.5 MiB"), (2**52, "4096.0 TiB")]
    )
    def test_sizes_are_readable(self, count, text):
        table = layers.summary(shape((count,), jnp.int8))
        assert str(table).endswith(f"\n{count:,} parameters, {text}")


@layers.layer
class Loud:
    """Says when it is computed."""

    x: jax.Array
    ran: Any = layers.static()

    def __call__(self, x):
        jax.debug.callback(self.ran)
        return x + self.x


@layers.layer
class Transforms:
    """Calls its layers in all the ways there are."""

    twice: layers.Dense
    mapped: layers.Dense
    scanned: Any
    again: layers.Dense
    cast: layers.Dense
    replaced: layers.Dense
    unused: layers.Dense

    @jax.jit
    def __call__(self, x):
        assert type(self).__name__ == "Transforms"
        assert "Dense(kernel=float32[3,3]" in repr(self)
        assert set(vars(self)) == {field.name for field in dataclasses.fields(self)}
        assert list(inspect.signature(type(self).__call__).parameters) == ["self", "x"]
        x = jax.jit(self.twice)(x) + jax.vmap(self.twice)(x)
        x = jax.vmap(lambda layer, row: layer(row))(jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), self.mapped), x)
        x, _ = lax.scan(lambda x, layer: (layer(x), None), x, self.scanned)
        x = jax.checkpoint(self.again)(x)
        gradient = jax.grad(lambda layer: jnp.sum(layer(x)))(self.again)
        x = lax.cond(x[0, 0] > 0, lambda x: x, self.again, x) @ gradient.kernel
        cast = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), self.cast)
        y = dataclasses.replace(self.replaced, bias=None)(x)
        return {"cast": cast(x.astype(jnp.bfloat16)), "replaced": y}


@layers.layer
class Stacking:
    """Cannot run if its blocks differ in structure."""

    blocks: tuple[layers.Dense, ...]

    def __call__(self, x):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *self.blocks)
        return lax.scan(lambda x, layer: (layer(x), None), x, stacked)[0]


@layers.layer
class Picky:
    inner: layers.Dense

    def __call__(self, x):
        if type(self.inner) is not layers.Dense:
            raise TypeError("no Dense")
        return self.inner(x)


class TestOutputs:
    def test_of_a_sequence_with_state_key_and_training(self):
        model: Any = layers.Sequential.init(
            layers.Conv.init(2, 4, (3, 3), strides=2, key=KEY),
            layers.BatchNorm.init(4),
            nn.relu,
            layers.Dropout(rate=0.5),
            layers.Sequential.init(dense(4, 5)),
        )
        arguments = jnp.ones((2, 8, 6, 2)), model.init_state()
        table = layers.summary(model, *arguments, training=True, key=KEY)
        rows = rows_of(table)
        expected = jax.eval_shape(functools.partial(model, training=True), *arguments, key=KEY)
        assert jax.tree.structure(rows[""].outputs[0]) == jax.tree.structure(expected)
        assert jax.tree.leaves(rows[""].outputs) == [shape(leaf.shape) for leaf in jax.tree.leaves(expected)]
        assert [row.layer for row in table.rows] == [
            *("Sequential", "Conv", "BatchNorm", "relu", "Dropout", "Sequential", "Dense")
        ]
        image = (2, 4, 3, 4)
        assert shapes_in(rows[".members[1]"]) == [[image, (4,), (4,)]]
        assert [shapes_in(rows[f".members[{index}]"]) for index in (0, 2, 3)] == [[[image]]] * 3
        assert shapes_in(rows[".members[4].members[0]"]) == [[(2, 4, 3, 5)]]

    def test_of_recurrent_layers_that_share_their_programs(self):
        cells = [layers.LSTMCell, layers.LSTMCell, layers.GRUCell]
        model: Any = jax.eval_shape(
            lambda: layers.Sequential.init(
                layers.Embedding.init(10, 4, key=KEY),
                *(layers.RNN.init(cell, 4, (4, 4), key=KEY) for cell in cells),
                layers.RNN(cell=layers.DropoutWrapper.init(layers.GRUCell.init(4, 4, key=KEY), output_rate=0.5)),
                layers.Bidirectional.init(layers.BasicRNNCell, 4, 3, key=KEY),
            )
        )
        ids = shape((2, 7), jnp.int32)
        jax.eval_shape(lambda model, ids: model(ids), model, ids)  # so the loops of all cells are in caches
        rows = rows_of(layers.summary(model, ids, training=True, key=KEY))
        assert len(rows) == 1 + 1 + 3 * 4 + 3 + 3
        for path, row in rows.items():
            assert len(row.outputs) == 1, path
        assert shapes_in(rows[".members[2].cell.cells[1]"]) == [[(2, 4)] * 3]
        assert shapes_in(rows[".members[4].cell.cell"]) == [[(2, 4)] * 2]
        assert shapes_in(rows[".members[5].backward"]) == [[(2, 3)] * 2]
        assert shapes_in(rows[""]) == [[(2, 7, 6)]]
        run: Any = lambda layer, x: layer["inner"].scan(x, [7, 3]).state[1]  # noqa: E731
        scanned = rows_of(layers.summary({"inner": model[1]}, shape((2, 7, 4)), call=run))
        assert shapes_in(scanned[""]) == [[(2, 4)] * 2]
        assert shapes_in(scanned["['inner']"]) == [[(2, 7, 4)] + [(2, 4)] * 4]
        table = layers.summary(model[1], shape((2, 7, 4)), sequence_length=[7, 3], call=layers.RNN.scan)
        assert table.rows[0].outputs == scanned["['inner']"].outputs

    def test_of_layers_under_every_transform(self):
        scanned = layers.Dense(kernel=jnp.ones((4, 3, 3)), bias=jnp.ones((4, 3)))
        model = Transforms(
            scanned=scanned,
            **{field.name: dense(3, 3) for field in dataclasses.fields(Transforms) if field.name != "scanned"},
        )
        rows = rows_of(layers.summary(model, jnp.ones((2, 3))))
        expected = {
            **{"twice": [[(2, 3)], [(3,)]], "mapped": [[(3,)]], "scanned": [[(2, 3)]], "again": [[(2, 3)]]},
            **{"cast": [[(2, 3)]], "replaced": [], "unused": []},
        }
        assert {name: shapes_in(rows[f".{name}"]) for name in expected} == expected
        assert rows[".cast"].outputs[0].dtype == jnp.bfloat16
        assert rows[""].outputs == ({"cast": shape((2, 3), jnp.bfloat16), "replaced": shape((2, 3))},)
        assert type(model.twice) is layers.Dense
        assert jax.tree.structure(model.twice) == jax.tree.structure(dense(3, 3))

    def test_of_layers_that_are_stacked(self):
        rows = rows_of(layers.summary(Stacking(blocks=(dense(3, 3), dense(3, 3))), jnp.ones((2, 3))))
        assert {path: shapes_in(row) for path, row in rows.items()} == {
            **{"": [[(2, 3)]], ".blocks[0]": [[(2, 3)]], ".blocks[1]": []}
        }

    def test_of_a_model_that_refuses_other_classes(self):
        rows = rows_of(layers.summary(Picky(inner=dense(3, 4)), jnp.ones((2, 3))))
        assert (shapes_in(rows[""]), shapes_in(rows[".inner"])) == ([[(2, 4)]], [])

    def test_of_a_tree_of_layers_by_a_function(self):
        models = {"first": dense(2, 3), "both": (dense(3, 4), dense(4, 1))}

        def loss(models, x, *, scale):
            x = models["first"](x)
            for layer in models["both"]:
                x = layer(x)
            return scale * jnp.mean(x), "a name"

        rows = rows_of(layers.summary(models, jnp.ones((5, 2)), scale=2, call=loss))
        assert rows[""].outputs == ((shape(()), "a name"),)
        assert shapes_in(rows["['both'][1]"]) == [[(5, 1)]]
        shaped = Shaped(shape=jnp.ones(3), dtype=dense(2, 3))
        rows = rows_of(layers.summary([shaped, shaped.dtype], jnp.ones((2, 3)), call=lambda pair, x: pair[0].encode(x)))
        assert {path: row.parameters for path, row in rows.items()} == {"": 0, "[0]": 3, "[0].dtype": 9, "[1]": 9}
        assert shapes_in(rows[""]) == [[(3,)]]
        assert shapes_in(rows["[0]"]) == []

    def test_of_a_model_in_an_ensemble_and_in_a_loss(self):
        model = dense(2, 3)
        run: Any = lambda model, x, *, model_is_good: jnp.sum(model(x[1:]) + model(x[1:]))  # noqa: E731
        assert shapes_in(layers.summary(model, jnp.ones((5, 2)), model_is_good=True, call=run).rows[0]) == [[(4, 3)]]
        ensemble = jax.tree.map(lambda leaf: jnp.stack([leaf] * 8), model)
        run = jax.vmap(lambda layer, x: layer(x), (0, None))
        rows = rows_of(layers.summary(ensemble, jnp.ones((5, 2)), call=run))
        assert shapes_in(rows[""]) == [[(5, 3)]]

    def test_nothing_is_computed(self):
        ran = []
        loud = Loud(x=jnp.ones(3), ran=functools.partial(ran.append, None))
        assert shapes_in(rows_of(layers.summary(loud, jnp.ones(3)))[""]) == [[(3,)]]
        jax.effects_barrier()
        assert ran == []
        loud(jnp.ones(3))
        jax.effects_barrier()
        assert ran == [None]
        large: Any = jax.eval_shape(lambda key: layers.Dense.init(2**21, 2**21, key=key), KEY)
        table = layers.summary(large, shape((2**20, 2**21)))
        assert table.nbytes == 2**44 + 2**23
        assert shapes_in(table.rows[0]) == [[(2**20, 2**21)]]

    def test_errors_are_those_of_the_model(self):
        with pytest.raises(ValueError, match="Dense: `x` must have 2 features") as caught:
            layers.summary(dense(2, 3), jnp.ones((1, 4)))
        assert caught.value.__context__ is None
        with pytest.raises(TypeError, match="summary: `model` must be callable if there are inputs .* got dict"):
            layers.summary({}, jnp.ones(3))
        bad: Any = "scan"
        with pytest.raises(TypeError, match=r"summary: `call` must be .*call\(model, \*inputs, \*\*options\)"):
            layers.summary(dense(2, 3), jnp.ones((1, 2)), call=bad)


def test_the_table_has_a_line_for_each_array_and_each_result():
    model = layers.Sequential.init(layers.BatchNorm.init(1000), *[layers.BatchNorm.init(1000, use_scale=False)] * 2)
    table = layers.summary(model, shape((8, 1000)), model.init_state())
    assert repr(table) == str(table)
    assert str(table).splitlines()[2:6] == [
        ".            Sequential                                  0  (float32[8,1000],",
        "                                                             tuple of 6 arrays)",
        ".members[0]  BatchNorm   scale: float32[1000]        2,000  (float32[8,1000],",
        "                         offset: float32[1000]               BatchNormState of 2 arrays)",
    ]
