"""Cases of ``jnnops.convolution``."""
