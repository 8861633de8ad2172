"""Tests of llm_g4f/config."""
