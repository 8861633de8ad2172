"""The answer to a request, with what is asked for besides: kept answers, and spans."""

from __future__ import annotations

import sys

from ..request import ChatRequest
from .admission import Admission
from .fallback import Fallback
from .registry import Registry


def answer_to(
    request: ChatRequest, registry: Registry, admission: Admission | None = None
) -> Fallback:
    """The answer to a request: one that was kept, where the request or g4f.yaml allows it, and with
    spans where the application has loaded OpenTelemetry."""
    kind = Fallback
    if request.cache or (request.cache is None and registry.config.cache is not None):
        from .answer_cache import CachedFallback

        kind = CachedFallback
    if "opentelemetry.trace" in sys.modules:
        from .tracing import traced

        kind = traced(kind)
    return kind(request, registry, admission)
