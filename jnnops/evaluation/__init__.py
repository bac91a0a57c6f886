"""The largest numbers of a row, and whether a class is among them."""

from jnnops.evaluation.approximate import approx_max_k as approx_max_k
from jnnops.evaluation.approximate import approx_min_k as approx_min_k
from jnnops.evaluation.nth_element import nth_element as nth_element
from jnnops.evaluation.top_k import TopK as TopK
from jnnops.evaluation.top_k import in_top_k as in_top_k
from jnnops.evaluation.top_k import top_k as top_k
