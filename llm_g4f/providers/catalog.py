"""The providers and models we know, as data: a new OpenAI-compatible provider is one row, no code.

Nobody was asked over the network for this: each row is what its sources said on the day in
`CHECKED`. g4f.yaml overrides any of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from msgspec import Struct, field

from .base import Kind, Scope, Serving

__all__ = ["CHECKED", "MODELS", "ROWS", "Model", "Offer", "Row", "abilities"]

CHECKED = dt.date(2026, 11, 22)
"""The day on which the facts below were looked up."""

D = dt.date


class Model(Struct, frozen=True):
    """What a model can do, wherever it is served. `context` and `output` are in tokens, None where
    the sources give no number. `reasons`: it takes reasoning_effort."""

    images: bool = False
    files: bool = False
    audio: bool = False
    tools: bool = True
    schema: bool = True
    context: int | None = None
    output: int | None = None
    reasons: bool = False


_GPT_4O = Model(images=True, files=True, context=128_000, output=16_384)
_GPT_41 = Model(images=True, files=True, context=1_047_576, output=32_768)
_OSS = Model(context=131_072, reasons=True)
_GEMINI = Model(images=True, audio=True, context=1_000_000, reasons=True)

# By the id without its vendor prefix.
MODELS: Mapping[str, Model] = {
    "gpt-4o": _GPT_4O,
    "gpt-4o-mini": _GPT_4O,
    "gpt-4.1": _GPT_41,
    "gpt-4.1-mini": _GPT_41,
    "gpt-4.1-nano": _GPT_41,
    "gpt-4": Model(schema=False, context=8_192, output=8_192),
    "gpt-4-turbo": Model(images=True, schema=False, context=128_000, output=4_096),
    "gpt-3.5-turbo": Model(schema=False, context=16_385, output=4_096),
    "gpt-6-luna": Model(images=True, files=True, context=1_000_000, reasons=True),
    "gpt-oss-120b": _OSS,
    "gpt-oss-20b": _OSS,
    "gpt-oss:20b": _OSS,
    "gemini-3.5-flash": _GEMINI,
    "gemini-3.5-flash-lite": _GEMINI,
    "qwen3.8-27b": Model(images=True, context=131_072),
    "qwen-3.8-27b": Model(images=True, context=131_072),
    "mistral-small-latest": Model(context=262_144),
    "mistral-medium-latest": Model(images=True, context=262_144),
    "Qwen2.5-VL-72B-Instruct": Model(images=True, tools=False, context=32_768),
    "llama-4-scout-17b-16e-instruct": Model(images=True, context=131_072),
}


def abilities(model: str) -> Model | None:
    """What `model` can do, by its id with or without vendor prefix; None if it is not known."""
    return MODELS.get(model) or MODELS.get(model.rsplit("/", 1)[-1])


class Offer(Struct, frozen=True):
    """A model with which a provider would answer. `verify`, `successor` and `quirks` as in `Serving`;
    `able` is what it can do, None if unknown: then nothing is held against it."""

    model: str
    exact: bool
    able: Model | None = None
    verify: bool = False
    successor: bool = False
    quirks: tuple[str, ...] = ()

    def serving(self) -> Serving:
        """The offer, taken."""
        return Serving(
            self.model,
            self.exact,
            verify=self.verify,
            context=self.able.context if self.able else None,
            quirks=self.quirks,
            successor=self.successor,
        )


Offers = Mapping[str, tuple[str, ...]]


class Row(Struct, frozen=True, kw_only=True):
    """One provider.

    `models`: for a requested model ("*": any other) the ids it is served with here, the first that
    can take the request. `ends`: the day from which a requested model is gone here, and
    `successors` what takes its place. `variables` and `aliases` say where the key is looked for
    (environment, `llm keys`), `ambient` False that a variable serves other ends too and counts
    only where the provider is enabled. `parameters` are the environment variables in braces in
    `base_url`. `key_header` carries the key instead of Authorization. `key_enough`: a key is consent.
    `extra_content`: it wants to see that of its tool calls again. `price_table`: its name in
    genai-prices. `tells_cost`: usage.cost is in US dollars. `trains`: prompts may train models, None unknown.
    """

    name: str
    base_url: str
    kind: Kind = "keyed"
    scope: Scope = "key"
    models: Offers = field(default_factory=dict)
    ends: Mapping[str, dt.date] = field(default_factory=dict)
    successors: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    ambient: bool = True
    key_enough: bool = False
    key_header: str | None = None
    base_url_variable: str | None = None
    parameters: tuple[str, ...] = ()
    quirks: tuple[str, ...] = ()
    extra_content: bool = False
    price_table: str | None = None
    tells_cost: bool = False
    trains: bool | None = None
    evidence: str = ""


def _same(*models: str, prefix: str = "") -> Offers:
    return {model: (prefix + model,) for model in models}


_CHAT = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano")
_OLD = ("gpt-4", "gpt-4-turbo", "gpt-3.5-turbo")
_OPEN = ("gpt-oss-120b", "gpt-oss-20b")


def _oss(large: str, small: str, *vision: str) -> Offers:
    """gpt-oss for everything, the small one for the small models; `vision` where images come."""
    return {
        "*": (large, *vision),
        "gpt-4o-mini": (small, *vision),
        "gpt-4.1-mini": (small, *vision),
        "gpt-4.1-nano": (small, *vision),
        "gpt-oss-20b": (small,),
        "gpt-oss-120b": (large,),
    }


ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        # The models themselves: a key is enough.
        Row(
            name="openai",
            base_url="https://api.openai.com/v1",
            base_url_variable="OPENAI_BASE_URL",
            variables=("OPENAI_API_KEY",),
            aliases=("openai",),
            key_enough=True,
            models=_same(*_CHAT, *_OLD),
            ends={
                **dict.fromkeys(_CHAT[:4], D(2027, 1, 14)),
                **dict.fromkeys(("gpt-4.1-nano", *_OLD), D(2026, 10, 23)),
            },
            successors=dict.fromkeys((*_CHAT, *_OLD), "gpt-6-luna"),
            quirks=("strict_schema", "forty_tool_ids"),
            price_table="openai",
            trains=False,
            evidence="openai 3.54 (types/shared/chat_model.py); OpenAI's deprecations page",
        ),
        Row(
            name="azure",
            base_url="https://{AZURE_OPENAI_RESOURCE}.openai.azure.com/openai/v1",
            parameters=("AZURE_OPENAI_RESOURCE",),
            variables=("AZURE_OPENAI_API_KEY",),
            aliases=("azure",),
            key_header="api-key",
            key_enough=True,
            ends=dict.fromkeys(
                ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini"), D(2027, 4, 14)
            ),
            quirks=("strict_schema", "forty_tool_ids"),
            price_table="azure",
            trains=False,
            evidence="Azure OpenAI v1 API reference: the model is a deployment, named in g4f.yaml",
        ),
        Row(
            name="openrouter",
            base_url="https://openrouter.ai/api/v1",
            variables=("OPENROUTER_API_KEY", "OPENROUTER_KEY"),
            aliases=("openrouter",),
            key_enough=True,
            models=_same(*_CHAT, *_OLD, *_OPEN, prefix="openai/"),
            quirks=("system_role", "strict_schema", "forty_tool_ids"),
            price_table="openrouter",
            tells_cost=True,
            evidence="openrouter.ai/docs; llm-openrouter 0.7.1",
        ),
        Row(
            name="vercel",
            base_url="https://ai-gateway.vercel.sh/v1",
            variables=("AI_GATEWAY_API_KEY",),
            key_enough=True,
            models=_same("gpt-4o", "gpt-4o-mini", prefix="openai/"),
            quirks=("forty_tool_ids",),
            evidence="Vercel AI Gateway, OpenAI-compatible API",
        ),
        # On this machine: enabled by name, found by a probe of /models.
        Row(
            name="ollama",
            base_url="http://localhost:11434/v1",
            kind="local",
            trains=False,
            evidence="Ollama, OpenAI compatibility",
        ),
        Row(
            name="lmstudio",
            base_url="http://localhost:1234/v1",
            kind="local",
            quirks=("tool_choice_text",),
            trains=False,
            evidence="LM Studio, OpenAI compatibility endpoints",
        ),
        Row(
            name="llamacpp",
            base_url="http://localhost:8080/v1",
            kind="local",
            quirks=("tool_choice_text",),
            trains=False,
            evidence="llama.cpp, tools/server/README.md",
        ),
        Row(
            name="vllm",
            base_url="http://localhost:8000/v1",
            kind="local",
            trains=False,
            evidence="vLLM's OpenAI-compatible server; Ray Serve LLM listens there too",
        ),
        Row(
            name="sglang",
            base_url="http://localhost:30000/v1",
            kind="local",
            trains=False,
            evidence="SGLang's OpenAI-compatible API",
        ),
        Row(
            name="litellm",
            base_url="http://localhost:4000",
            kind="local",
            variables=("LITELLM_KEY",),
            aliases=("litellm",),
            evidence="LiteLLM proxy server",
        ),
        Row(
            name="g4f",
            base_url="http://127.0.0.1:1337/v1",
            kind="local",
            evidence="g4f 8.8.6: its server substitutes models without saying so",
        ),
        # Substitutes that want a key: one that is enabled, or the only one there is.
        Row(
            name="groq",
            base_url="https://api.groq.com/openai/v1",
            scope="model",
            variables=("GROQ_API_KEY",),
            aliases=("groq",),
            models=_oss("openai/gpt-oss-120b", "openai/gpt-oss-20b", "qwen/qwen3.8-27b"),
            quirks=("no_logprobs", "no_logit_bias", "no_names", "one_choice"),
            price_table="groq",
            trains=False,
            evidence="console.groq.com/docs/openai",
        ),
        Row(
            name="gemini",
            base_url="https://generativelanguage.googleapis.com/v1beta/openai",
            scope="model",
            variables=("GEMINI_API_KEY", "LLM_GEMINI_KEY"),
            aliases=("gemini",),
            models={
                "*": ("gemini-3.5-flash",),
                **dict.fromkeys(
                    ("gpt-4o-mini", "gpt-4.1-mini", "gpt-4.1-nano"), ("gemini-3.5-flash-lite",)
                ),
            },
            quirks=("no_temperature",),
            extra_content=True,
            price_table="google",
            evidence="ai.google.dev/gemini-api/docs/openai; llm-gemini 0.35",
        ),
        Row(
            name="mistral",
            base_url="https://api.mistral.ai/v1",
            variables=("MISTRAL_API_KEY", "LLM_MISTRAL_KEY"),
            aliases=("mistral",),
            models={"*": ("mistral-small-latest", "mistral-medium-latest")},
            quirks=(
                "max_tokens",
                "random_seed",
                "short_tool_ids",
                "no_stream_options",
                "strict_fields",
            ),
            price_table="mistral",
            evidence="docs.mistral.ai/api; llm-mistral 0.16",
        ),
        Row(
            name="cloudflare",
            base_url="https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1",
            parameters=("CLOUDFLARE_ACCOUNT_ID",),
            variables=("CLOUDFLARE_API_TOKEN",),
            aliases=("cloudflare",),
            ambient=False,
            models=_oss(
                "@cf/openai/gpt-oss-120b",
                "@cf/openai/gpt-oss-20b",
                "@cf/meta/llama-4-scout-17b-16e-instruct",
            ),
            quirks=("max_tokens", "always_max_tokens", "system_role", "no_store"),
            price_table="cloudflare",
            trains=False,
            evidence="developers.cloudflare.com/workers-ai",
        ),
        Row(
            name="cerebras",
            base_url="https://api.cerebras.ai/v1",
            variables=("CEREBRAS_API_KEY",),
            aliases=("cerebras",),
            models={"*": ("gpt-oss-120b", "qwen-3.8-27b")},
            quirks=("system_role", "no_store"),
            price_table="cerebras",
            evidence="inference-docs.cerebras.ai",
        ),
        Row(
            name="together",
            base_url="https://api.together.ai/v1",
            variables=("TOGETHER_API_KEY",),
            aliases=("together",),
            models={"*": ("openai/gpt-oss-120b",)},
            quirks=("max_tokens", "system_role", "no_store"),
            price_table="together",
            evidence="docs.together.ai/docs/openai-api-compatibility",
        ),
        Row(
            name="deepinfra",
            base_url="https://api.deepinfra.com/v1/openai",
            variables=("DEEPINFRA_API_KEY",),
            models=_oss("openai/gpt-oss-120b", "openai/gpt-oss-20b"),
            quirks=("max_tokens",),
            evidence="deepinfra.com/docs/openai_api",
        ),
        Row(
            name="nvidia",
            base_url="https://integrate.api.nvidia.com/v1",
            variables=("NVIDIA_API_KEY",),
            models={"*": ("openai/gpt-oss-20b",)},
            quirks=("max_tokens", "system_role", "no_store", "no_parallel_tools"),
            evidence="docs.api.nvidia.com/nim",
        ),
        Row(
            name="sambanova",
            base_url="https://api.sambanova.ai/v1",
            variables=("SAMBANOVA_API_KEY",),
            aliases=("sambanova",),
            models={"*": ("gpt-oss-120b",)},
            quirks=("max_tokens",),
            evidence="docs.sambanova.ai",
        ),
        Row(
            name="huggingface",
            base_url="https://router.huggingface.co/v1",
            variables=("HF_TOKEN", "HUGGINGFACE_TOKEN"),
            aliases=("huggingface",),
            ambient=False,
            models={"*": ("openai/gpt-oss-120b",)},
            quirks=("system_role",),
            evidence="huggingface.co/docs/inference-providers",
        ),
        Row(
            name="pollinations",
            base_url="https://gen.pollinations.ai/v1",
            variables=("POLLINATIONS_API_KEY",),
            models={"*": ("openai",)},
            evidence='pollinations\' API documentation; which model "openai" is, it does not say',
        ),
        # Public endpoints: only after explicit consent.
        Row(
            name="ovh",
            base_url="https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
            kind="anonymous",
            scope="model",
            variables=("OVHCLOUD_API_KEY",),
            models=_oss("gpt-oss-120b", "gpt-oss-20b", "Qwen2.5-VL-72B-Instruct"),
            trains=False,
            evidence="OVHcloud AI Endpoints: 2 requests a minute by address and model without a key",
        ),
        Row(
            name="kilo",
            base_url="https://api.kilo.ai/api/gateway",
            kind="anonymous",
            variables=("KILO_API_KEY",),
            models={"*": ("kilo-auto/free",)},
            trains=True,
            evidence="Kilo's gateway documentation: free models log prompts, 200 requests an hour",
        ),
        Row(
            name="llm7",
            base_url="https://api.llm7.io/v1",
            kind="anonymous",
            variables=("LLM7_API_KEY",),
            models={"*": ("default",), "gpt-oss-20b": ("gpt-oss:20b",)},
            evidence="llm7.io's documentation",
        ),
    )
}
