"""Compare llm-g4f with other clients and a raw socket: `python -m tests.benchmarks`."""
