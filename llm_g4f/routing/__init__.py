"""The choice among providers."""
