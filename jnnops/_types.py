"""Names for the types of arguments that several ops take."""

from collections.abc import Sequence

# One for every dimension, or one for each.
Ints = int | Sequence[int]
# "SAME", "VALID", or pairs (before, after).
Padding = str | Sequence[Sequence[int]]
# Such as "NHWC"; None is channels last.
DataFormat = str | None
