"""Helpers of the tests: servers, processes, scenarios."""
