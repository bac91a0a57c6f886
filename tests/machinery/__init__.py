"""What the tests of all ops share: cases, their registry, the oracle, comparisons and programs."""
