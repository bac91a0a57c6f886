"""Training steps that cost what they look up, however large the tables are.

The gradient of a table is zero but for the rows that were looked up, yet JAX computes all of it, and an optimiser then
goes through all of the table and of its own state. With millions of rows that takes a hundred times as long as the rest
of the step. Here the gradient consists of those rows, and only they are updated::

    def tables(params):
        return [params["classes"], params["biases"]]

    optimizer = nn.sparse.lazy(optax.adam(1e-3), tables=tables)

    def loss(params, inputs, labels, key):
        hidden = nn.relu(inputs @ params["kernel"])
        losses = nn.sampled_softmax_loss(
            params["classes"], params["biases"], labels, hidden, 1024, len(params["biases"]), key=key
        )
        return jnp.mean(losses)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, inputs, labels, key):
        value, grads = nn.sparse.value_and_grad(loss, tables=tables)(params, inputs, labels, key)
        updates, state = optimizer.update(grads, state, params)
        return nn.sparse.apply_updates(params, updates), state, value

    state = optimizer.init(params)

The model is the same as without, with any of the lookups of this library: embeddings, bags, sampled losses. A table may
be looked up several times. ``tables`` names the parameters to treat so; all others have dense gradients.

**Donate** the parameters and the state to the jitted step, as above, or make all steps in one ``lax.scan``: only then
are rows written in place. Otherwise each step copies all tables.

**What a table may not do.** Anything other than a lookup that happens to a table (a softmax over all classes that
shares its weights, a cast, weight decay in the loss) is an error that names the table and the line, and so is a lookup
whose gradient cannot get out as rows (in ``cond``, in ``while_loop``, in a ``custom_vjp``): a gradient is never
incomplete. Cast and regularise rows, after they are looked up.

**Calculating with gradients.** :func:`add`, :func:`scale`, :func:`global_norm` and :func:`clip_by_global_norm` take
slices and dense gradients together. ``jax.tree.map`` would calculate with the indices as well, and raises an error.

**Several micro-batches** in one step: :func:`sum_stacked` adds the gradients that a loop made. Slices of one row are
summed before the optimiser sees them::

    def gradient(_, batch):
        return None, nn.sparse.value_and_grad(loss, tables=tables)(params, *batch)[1]

    _, stacked = jax.lax.scan(gradient, None, batches)  # arrays of shape [4, batch, ...]
    grads = nn.sparse.scale(nn.sparse.sum_stacked(stacked), 1 / 4)

**Several devices.** Under ``jit`` with sharded batches gradients are those of the whole batch. In ``shard_map``, where
dense gradients have a ``lax.psum``, slices are put together: ``nn.sparse.IndexedSlices(lax.all_gather(slices.indices,
axis, tiled=True), lax.all_gather(slices.values, axis, tiled=True), slices.num_rows)``.

**On CPU** keep tables in float32 or float16: XLA (jaxlib 0.10.2) writes rows of bfloat16 by converting the table. What
is left of the tables' size in the time of a step is the processor's search for their pages: with 4 million rows a step
of Adam takes 1.3 times as long as with 10 thousand, and 1.2 times in large pages, which Linux with the GNU C library
gives to Python if ``GLIBC_TUNABLES=glibc.malloc.hugetlb=1`` is set before it starts.
"""

from jnnops.sparse.arithmetic import add as add
from jnnops.sparse.arithmetic import clip_by_global_norm as clip_by_global_norm
from jnnops.sparse.arithmetic import global_norm as global_norm
from jnnops.sparse.arithmetic import scale as scale
from jnnops.sparse.arithmetic import sum_stacked as sum_stacked
from jnnops.sparse.gradient import value_and_grad as value_and_grad
from jnnops.sparse.optimizer import CatchUpState as CatchUpState
from jnnops.sparse.optimizer import lazy as lazy
from jnnops.sparse.slices import IndexedSlices as IndexedSlices
from jnnops.sparse.updates import apply_updates as apply_updates
