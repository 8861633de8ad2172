"""Programs as users of openai and g4f write them, run with their import replaced and nothing else."""
