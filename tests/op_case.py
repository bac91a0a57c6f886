"""The old name of ``machinery.case``."""

from machinery.case import Arrays, Bad, Case, bad, cotangent, integers, normal

__all__ = ["Arrays", "Bad", "Case", "bad", "cotangent", "integers", "normal"]
