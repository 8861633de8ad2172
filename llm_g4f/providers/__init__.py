"""An answer from one place: the catalogue, HTTP endpoints, the local model."""
