"""The cases of ``op_cases.CASES``, one module for each room of the library."""
