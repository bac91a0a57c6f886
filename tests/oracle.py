"""The old name of ``machinery.oracle``."""

from machinery.oracle import cotangent, gradients, tf, values

__all__ = ["cotangent", "gradients", "tf", "values"]
