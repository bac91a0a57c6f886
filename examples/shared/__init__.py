"""What the examples share; none of it is about their subject."""
