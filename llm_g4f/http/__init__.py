"""HTTP: one request, one response."""
