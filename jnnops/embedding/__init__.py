"""Rows of a table looked up by their ids: one by one, or combined for each row of a sparse matrix of ids.

A table is ``[num_rows, ...]``. It may be given as a list of shards, which hold its rows in one of TensorFlow's two
orders: with ``partition_strategy="mod"`` the rows are dealt out in turns (of 3 shards the first holds rows 0, 3, 6 and
so on), with ``"div"`` each shard holds a block of consecutive rows. Where the rows do not divide evenly, the first
shards hold one more. TensorFlow 2 knows only ``"div"``; the defaults here are those of TensorFlow 1.

An id out of range names no row: it gives a row of zeros and no gradient, and is reported by ``checkify``. (TensorFlow
gives zeros on accelerators and raises on CPU.) The gradient of a row that is looked up many times is summed in
float32 however few bits the table has.

Sparse ids are ``jax.experimental.sparse.BCOO`` matrices of integers, ``[batch, max_ids]``: the ids of a row are a bag,
whose order does not matter. A BCOO has room for a fixed number of entries, ``nse``; those that it does not need have
indices out of bounds and are ignored. Its entries may be in one list (``n_batch=0``, good for bags of very different
sizes), or those of each row by themselves (``n_batch=1``, so that a batch can be split over devices).
:meth:`SparseIds.from_lists` builds both.
"""

from jnnops.embedding.lookup import embedding_lookup as embedding_lookup
from jnnops.embedding.lookup_sparse import embedding_lookup_sparse as embedding_lookup_sparse
from jnnops.embedding.lookup_sparse import safe_embedding_lookup_sparse as safe_embedding_lookup_sparse
from jnnops.embedding.sparse_ids import SparseIds as SparseIds
