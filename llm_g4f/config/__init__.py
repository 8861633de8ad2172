"""g4f.yaml, API keys and the other files in llm's user directory."""

from __future__ import annotations

from .files import config_path, environment, environment_is, user_dir, user_file
from .keys import clean_key, find_key, key_hint, key_or_problem, looks_like_key, named_key
from .settings import Config, LocalConfig, ModelEntry, Names, ProviderConfig, provider_names
from .urls import check_base_url, is_loopback
from .yaml_reader import load, parse

__all__ = [
    "Config",
    "LocalConfig",
    "ModelEntry",
    "Names",
    "ProviderConfig",
    "check_base_url",
    "clean_key",
    "config_path",
    "environment",
    "environment_is",
    "find_key",
    "is_loopback",
    "key_hint",
    "key_or_problem",
    "load",
    "looks_like_key",
    "named_key",
    "parse",
    "provider_names",
    "user_dir",
    "user_file",
]
