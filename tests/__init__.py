"""Tests: real sockets, the real llm command, the real llama.cpp."""
