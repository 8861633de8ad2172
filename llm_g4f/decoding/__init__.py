"""A response's bytes into chunks, or an error."""
