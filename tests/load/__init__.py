"""Load: many streams in one process, and many processes with one user directory."""
