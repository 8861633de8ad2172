"""The providers, as data: a new OpenAI-compatible provider is one entry here and no code.

Each entry is what its sources said on the day in `CHECKED`. g4f.yaml overrides any of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from msgspec import Struct, field

from .base import Kind, Scope

CHECKED = dt.date(2026, 11, 22)
"""The day on which the facts below were looked up."""

D = dt.date


ModelIds = Mapping[str, tuple[str, ...]]


class BatchAPI(Struct, frozen=True):
    """A provider's Batch API: the limits of one batch and their source, and `form`, whose requests it
    takes (`batch.services`). Its batches are listed, so that one is found again whose creation was not
    noted."""

    rows: int
    bytes: int
    evidence: str
    form: str = "openai"


class ProviderSpec(Struct, frozen=True, kw_only=True):
    """One provider.

    `models`: the ids here for a requested model ("*": any other), of which the first that can take
    the request answers. `has_snapshots`: it has a model's snapshots too, by their own names.
    `has_variants`: it takes OpenRouter's variants. `retires`: the day (UTC) from which a requested
    model is gone here, and `successors` the model that its maker names for its place; both hold for
    the snapshots that are not listed themselves. `prices` are those of both, in US dollars for a
    million tokens of input and of output (`providers.successors`). `aliases`, besides `name`, and
    `env_vars` name the key in `llm keys` and in the environment; with `dedicated_env_var` False, the
    variables also serve other programs
    and count only if the provider is enabled or named. `base_url_env_var` replaces `base_url`, and
    `url_env_vars` are the variables in braces in it. `key_header` carries the key instead of
    Authorization. `key_is_consent`: a key is consent. `extra_content`: it needs the extra_content of
    its tool calls back. `price_table`: its name in genai-prices. `reports_cost`: usage.cost is in US
    dollars. `trains_on_prompts`: whether it may train models on prompts, None if unknown. `enforces_schema`: it
    promises that answers fit the schema of a request, token by token; other answers are checked.
    `image_urls`: it fetches images from the web. `batch`: its Batch API, if that is OpenAI's. `limits`: how much may be asked without a key. `evidence`: the source of these facts.
    """

    name: str
    base_url: str
    kind: Kind = "keyed"
    scope: Scope = "key"
    models: ModelIds = field(default_factory=dict)
    has_snapshots: bool = False
    has_variants: bool = False
    retires: Mapping[str, dt.date] = field(default_factory=dict)
    successors: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    env_vars: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    dedicated_env_var: bool = True
    key_is_consent: bool = False
    key_header: str | None = None
    base_url_env_var: str | None = None
    url_env_vars: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    extra_content: bool = False
    price_table: str | None = None
    reports_cost: bool = False
    trains_on_prompts: bool | None = None
    enforces_schema: bool = False
    image_urls: bool = True
    batch: BatchAPI | None = None
    limits: str = ""
    evidence: str = ""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of its key in `llm keys`, its own first."""
        return tuple(dict.fromkeys((self.name, *self.aliases)))


def _same(*models: str, prefix: str = "") -> ModelIds:
    return {model: (prefix + model,) for model in models}


_CHAT = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano")
_OLD = ("gpt-4", "gpt-4-turbo", "gpt-3.5-turbo")
_OPEN = ("gpt-oss-120b", "gpt-oss-20b")


def _oss(large: str, small: str, *vision: str) -> ModelIds:
    """gpt-oss for everything, the small one for the small models; `vision` where images come."""
    return {
        "*": (large, *vision),
        "gpt-4o-mini": (small, *vision),
        "gpt-4.1-mini": (small, *vision),
        "gpt-4.1-nano": (small, *vision),
        "gpt-oss-20b": (small,),
        "gpt-oss-120b": (large,),
    }


PROVIDERS: Mapping[str, ProviderSpec] = {
    row.name: row
    for row in (
        # The models themselves: a key is enough.
        ProviderSpec(
            name="openai",
            base_url="https://api.openai.com/v1",
            base_url_env_var="OPENAI_BASE_URL",
            env_vars=("OPENAI_API_KEY",),
            key_is_consent=True,
            models=_same(*_CHAT, *_OLD),
            has_snapshots=True,
            retires={
                **dict.fromkeys(_CHAT[:4], D(2027, 1, 14)),
                **dict.fromkeys(("gpt-4.1-nano", *_OLD, "gpt-4o-2024-05-13"), D(2026, 10, 23)),
                # Snapshots that ended before their family.
                **dict.fromkeys(("gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613"), D(2024, 9, 13)),
                **dict.fromkeys(
                    ("gpt-4-0314", "gpt-4-0125-preview", "gpt-4-turbo-preview"), D(2026, 3, 26)
                ),
                "gpt-3.5-turbo-1106": D(2026, 9, 28),
            },
            # OpenAI's deprecations page, 2026-11-22: those of 2026-10-23, then those of 2027-01-14. No
            # request has confirmed them yet.
            successors={
                **dict.fromkeys(("gpt-4", "gpt-4-turbo"), "gpt-5.6-sol"),
                "gpt-3.5-turbo": "gpt-5.6-terra",
                "gpt-4.1-nano": "gpt-5.6-luna",
                **dict.fromkeys(_CHAT[:4], "gpt-6-luna"),
            },
            # OpenAI's pricing page as in genai-prices 0.2.3, 2026-11-22: standard tier, short context.
            prices={
                "gpt-4o": (2.50, 10.00),
                "gpt-4o-mini": (0.15, 0.60),
                "gpt-4.1": (2.00, 8.00),
                "gpt-4.1-mini": (0.40, 1.60),
                "gpt-4.1-nano": (0.10, 0.40),
                "gpt-4": (30.00, 60.00),
                "gpt-4-turbo": (10.00, 30.00),
                "gpt-3.5-turbo": (0.50, 1.50),
                "gpt-5.6-sol": (4.00, 20.00),
                "gpt-5.6-terra": (2.00, 12.00),
                "gpt-5.6-luna": (0.20, 1.20),
                "gpt-6-luna": (0.10, 0.50),
            },
            quirks=("strict_schema", "forty_tool_ids"),
            price_table="openai",
            trains_on_prompts=False,
            # Guide "Structured model outputs": with strict, which the quirk sends.
            enforces_schema=True,
            batch=BatchAPI(50_000, 200_000_000, "openai 3.57: resources/batches.py, create"),
            evidence="openai 3.54 (types/shared/chat_model.py); OpenAI's deprecations page",
        ),
        ProviderSpec(
            name="azure",
            base_url="https://{AZURE_OPENAI_RESOURCE}.openai.azure.com/openai/v1",
            url_env_vars=("AZURE_OPENAI_RESOURCE",),
            env_vars=("AZURE_OPENAI_API_KEY",),
            key_header="api-key",
            key_is_consent=True,
            retires=dict.fromkeys(
                ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini"), D(2027, 4, 14)
            ),
            quirks=("strict_schema", "forty_tool_ids"),
            price_table="azure",
            trains_on_prompts=False,
            # "How to use structured outputs": as OpenAI's.
            enforces_schema=True,
            evidence="Azure OpenAI v1 API reference: the model is a deployment, named in g4f.yaml",
        ),
        ProviderSpec(
            name="openrouter",
            base_url="https://openrouter.ai/api/v1",
            env_vars=("OPENROUTER_API_KEY", "OPENROUTER_KEY"),
            key_is_consent=True,
            models=_same(*_CHAT, *_OLD, *_OPEN, prefix="openai/"),
            has_snapshots=True,
            has_variants=True,
            quirks=("system_role", "strict_schema", "forty_tool_ids"),
            price_table="openrouter",
            reports_cost=True,
            batch=BatchAPI(
                *(5_000, 200_000_000),
                "openrouter.ai/docs/guides/features/batch-api",
                "openrouter",
            ),
            evidence="openrouter.ai/docs; llm-openrouter 0.7.1",
        ),
        ProviderSpec(
            name="vercel",
            base_url="https://ai-gateway.vercel.sh/v1",
            env_vars=("AI_GATEWAY_API_KEY",),
            key_is_consent=True,
            models=_same("gpt-4o", "gpt-4o-mini", prefix="openai/"),
            quirks=("forty_tool_ids",),
            evidence="Vercel AI Gateway, OpenAI-compatible API",
        ),
        # On this machine: enabled by name, found by a probe of /models.
        ProviderSpec(
            name="ollama",
            base_url="http://localhost:11434/v1",
            kind="local",
            trains_on_prompts=False,
            # ollama.com/blog/structured-outputs: it constrains the output to the schema.
            enforces_schema=True,
            # docs.ollama.com/api/openai-compatibility: base64 only ("invalid image input", issue 6753).
            image_urls=False,
            # The same page: none of these is among the fields that it supports; it ignores them.
            quirks=("no_tool_choice", "no_logit_bias", "one_choice", "no_user"),
            evidence="Ollama, OpenAI compatibility",
        ),
        ProviderSpec(
            name="lmstudio",
            base_url="http://localhost:1234/v1",
            kind="local",
            quirks=("tool_choice_text",),
            trains_on_prompts=False,
            # lmstudio.ai/docs/advanced/structured-output: it enforces the schema.
            enforces_schema=True,
            # "'url' field must be a base64 encoded image": lmstudio-bug-tracker, issue 1120.
            image_urls=False,
            evidence="LM Studio 0.4, OpenAI compatibility endpoints",
        ),
        ProviderSpec(
            name="llamacpp",
            base_url="http://localhost:8080/v1",
            kind="local",
            quirks=("tool_choice_text",),
            trains_on_prompts=False,
            # tools/server/README.md, response_format: "schema-constrained JSON", by a grammar.
            enforces_schema=True,
            evidence="llama.cpp, tools/server/README.md: in router mode it has several models",
        ),
        ProviderSpec(
            name="llamacpp-app",
            base_url="http://localhost:9931/v1",
            kind="local",
            quirks=("tool_choice_text",),
            trains_on_prompts=False,
            enforces_schema=True,
            evidence="llama.cpp's desktop app, which runs the same server at a port of its own",
        ),
        ProviderSpec(
            name="vllm",
            base_url="http://localhost:8000/v1",
            kind="local",
            trains_on_prompts=False,
            # docs.vllm.ai/features/structured_outputs: by xgrammar or guidance.
            enforces_schema=True,
            evidence="vLLM's OpenAI-compatible server; Ray Serve LLM listens there too",
        ),
        ProviderSpec(
            name="sglang",
            base_url="http://localhost:30000/v1",
            kind="local",
            trains_on_prompts=False,
            # docs.sglang.ai/advanced_features/structured_outputs: by xgrammar.
            enforces_schema=True,
            evidence="SGLang's OpenAI-compatible API",
        ),
        ProviderSpec(
            name="litellm",
            base_url="http://localhost:4000",
            kind="local",
            env_vars=("LITELLM_KEY",),
            evidence="LiteLLM proxy server",
        ),
        ProviderSpec(
            name="g4f",
            base_url="http://127.0.0.1:1337/v1",
            kind="local",
            evidence="g4f 8.8.6: its server substitutes models without saying so",
        ),
        # Substitutes that want a key: one that is enabled, or the only one there is.
        ProviderSpec(
            name="groq",
            base_url="https://api.groq.com/openai/v1",
            scope="model",
            env_vars=("GROQ_API_KEY",),
            models=_oss("openai/gpt-oss-120b", "openai/gpt-oss-20b", "qwen/qwen3.8-27b"),
            quirks=("no_logprobs", "no_logit_bias", "no_names", "one_choice"),
            price_table="groq",
            trains_on_prompts=False,
            batch=BatchAPI(
                *(50_000, 100_000_000),
                "groq 0.31: resources/batches.py, create; console.groq.com/docs/batch",
            ),
            evidence="console.groq.com/docs/openai",
        ),
        ProviderSpec(
            name="gemini",
            base_url="https://generativelanguage.googleapis.com/v1beta/openai",
            scope="model",
            env_vars=("GEMINI_API_KEY", "LLM_GEMINI_KEY"),
            models={
                "*": ("gemini-3.8-flash",),
                **dict.fromkeys(
                    ("gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1-nano"), ("gemini-3.5-flash-lite",)
                ),
            },
            quirks=("no_temperature",),
            extra_content=True,
            price_table="google",
            evidence="ai.google.dev/gemini-api/docs/openai; llm-gemini 0.35",
        ),
        ProviderSpec(
            name="mistral",
            base_url="https://api.mistral.ai/v1",
            env_vars=("MISTRAL_API_KEY", "LLM_MISTRAL_KEY"),
            models={"*": ("mistral-small-latest", "mistral-medium-latest")},
            quirks=(
                "max_tokens",
                "random_seed",
                "short_tool_ids",
                "no_stream_options",
                "strict_fields",
            ),
            price_table="mistral",
            batch=BatchAPI(
                *(100_000, 512_000_000),
                "docs.mistral.ai/resources/known-limitations",
                "mistral",
            ),
            evidence="docs.mistral.ai/api; llm-mistral 0.16",
        ),
        ProviderSpec(
            name="cloudflare",
            base_url="https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1",
            url_env_vars=("CLOUDFLARE_ACCOUNT_ID",),
            env_vars=("CLOUDFLARE_API_TOKEN",),
            dedicated_env_var=False,
            models=_oss(
                "@cf/openai/gpt-oss-120b",
                "@cf/openai/gpt-oss-20b",
                "@cf/meta/llama-4-scout-17b-16e-instruct",
            ),
            quirks=("max_tokens", "always_max_tokens", "system_role", "no_store"),
            price_table="cloudflare",
            trains_on_prompts=False,
            evidence="developers.cloudflare.com/workers-ai",
        ),
        ProviderSpec(
            name="cerebras",
            base_url="https://api.cerebras.ai/v1",
            env_vars=("CEREBRAS_API_KEY",),
            models={"*": ("gpt-oss-120b", "qwen-3.8-27b")},
            quirks=("system_role", "no_store"),
            price_table="cerebras",
            evidence="inference-docs.cerebras.ai",
        ),
        ProviderSpec(
            name="together",
            base_url="https://api.together.ai/v1",
            env_vars=("TOGETHER_API_KEY",),
            models={"*": ("openai/gpt-oss-120b",)},
            quirks=("max_tokens", "system_role", "no_store"),
            price_table="together",
            evidence="docs.together.ai/docs/openai-api-compatibility",
        ),
        ProviderSpec(
            name="deepinfra",
            base_url="https://api.deepinfra.com/v1/openai",
            env_vars=("DEEPINFRA_API_KEY",),
            models=_oss("openai/gpt-oss-120b", "openai/gpt-oss-20b"),
            quirks=("max_tokens",),
            evidence="deepinfra.com/docs/openai_api",
        ),
        ProviderSpec(
            name="nvidia",
            base_url="https://integrate.api.nvidia.com/v1",
            env_vars=("NVIDIA_API_KEY",),
            models={"*": ("openai/gpt-oss-20b",)},
            quirks=("max_tokens", "system_role", "no_store", "no_parallel_tools"),
            evidence="docs.api.nvidia.com/nim",
        ),
        ProviderSpec(
            name="sambanova",
            base_url="https://api.sambanova.ai/v1",
            env_vars=("SAMBANOVA_API_KEY",),
            models={"*": ("gpt-oss-120b",)},
            quirks=("max_tokens",),
            evidence="docs.sambanova.ai",
        ),
        ProviderSpec(
            name="huggingface",
            base_url="https://router.huggingface.co/v1",
            env_vars=("HF_TOKEN", "HUGGINGFACE_TOKEN"),
            dedicated_env_var=False,
            models={"*": ("openai/gpt-oss-120b",)},
            quirks=("system_role",),
            evidence="huggingface.co/docs/inference-providers",
        ),
        ProviderSpec(
            name="pollinations",
            base_url="https://gen.pollinations.ai/v1",
            env_vars=("POLLINATIONS_API_KEY",),
            models={"*": ("openai",)},
            evidence='pollinations\' API documentation; which model "openai" is, it does not say',
        ),
        # Public endpoints: only after explicit consent.
        ProviderSpec(
            name="ovh",
            base_url="https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
            kind="anonymous",
            scope="model",
            env_vars=("OVHCLOUD_API_KEY",),
            models=_oss("gpt-oss-120b", "gpt-oss-20b", "Qwen2.5-VL-72B-Instruct"),
            trains_on_prompts=False,
            limits="2 requests a minute for each model",
            evidence="OVHcloud AI Endpoints: 2 requests a minute by address and model without a key",
        ),
        ProviderSpec(
            name="kilo",
            base_url="https://api.kilo.ai/api/gateway",
            kind="anonymous",
            env_vars=("KILO_API_KEY",),
            models={"*": ("kilo-auto/free",)},
            trains_on_prompts=True,
            limits="200 requests an hour, and prompts are logged",
            evidence="Kilo's gateway documentation: free models log prompts, 200 requests an hour",
        ),
        ProviderSpec(
            name="llm7",
            base_url="https://api.llm7.io/v1",
            kind="anonymous",
            env_vars=("LLM7_API_KEY",),
            models={"*": ("default",), "gpt-oss-20b": ("gpt-oss:20b",)},
            evidence="llm7.io's documentation",
        ),
    )
}
