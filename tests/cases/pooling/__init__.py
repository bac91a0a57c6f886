"""Cases of ``jnnops.pooling``."""
