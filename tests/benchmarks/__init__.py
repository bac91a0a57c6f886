"""Times every op against its peers: ``python -m pytest tests/benchmarks``."""
