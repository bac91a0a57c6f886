"""What the library needs of JAX's machinery, one module for what depends on its release."""
