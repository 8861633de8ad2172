"""A search for inputs that break what this package promises: one module for each kind of input."""
