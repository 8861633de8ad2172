"""The fault matrix: `python -m tests.fault_matrix` runs and prints it."""
