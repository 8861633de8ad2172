"""What llm-g4f costs beside a raw socket and beside other clients: `python -m tests.benchmarks`."""
