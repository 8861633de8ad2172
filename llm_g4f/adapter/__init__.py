"""Everything that meets llm."""
