"""The words of providers about a failure, recognised as a reason."""

from __future__ import annotations

import pytest

from llm_g4f.decoding.reasons import parameter_in, reason_of


@pytest.mark.parametrize(
    ("status", "code", "words", "reason"),
    [
        (429, "insufficient_quota", "You exceeded your current quota", "out_of_credit"),
        (429, "rate_limit_exceeded", "Slow down.", None),
        (402, None, "Pay.", None),
        (400, "unsupported_parameter", "No.", "parameter_unsupported"),
        (400, "unknown_parameter", "No.", "parameter_unsupported"),
        (400, "unsupported_value", "No.", "parameter_unsupported"),
        (500, "unsupported_value", "No.", None),
        (403, None, "openai/gpt-4o requires moderation on OpenRouter.", "filtered"),
        (403, None, "Not in your country.", None),
        (404, "model_not_found", "", "model_gone"),
        (404, None, "The model `gpt-4o` does not exist.", "model_gone"),
        (404, None, "Not Found", None),
        (404, "DeploymentNotFound", "The API deployment does not exist.", "model_gone"),
        (410, None, "The model 'x' has reached its end of life.", "model_gone"),
        (410, None, "Gone", None),
        (400, None, "model", None),
        (402, "openrouter_in_flight_budget", "Insufficient credits", "rate_limited"),
        (402, "openrouter_credits", "Insufficient credits", None),
        (403, "openrouter_key_limit", "Limit spent", "out_of_credit"),
        (403, None, "Key limit exceeded (total limit). Manage it at …", "out_of_credit"),
        (413, "rate_limit_exceeded", "Request too large", "rate_limited"),
        (413, "tokens_limit_reached", "Request body too large. Max size: 8000 tokens.", "rate_limited"),
        (413, None, "Request too large on tokens per minute (TPM): Limit 6000", "rate_limited"),
        (413, None, "Request Entity Too Large", None),
        (400, "json_validate_failed", "Failed to generate JSON.", "schema_mismatch"),
        (400, "tool_use_failed", "Tool call validation failed: y is not allowed", "schema_mismatch"),
    ],
)  # fmt: skip
def test_the_reason_of_a_status_a_code_and_words(
    status: int, code: str | None, words: str, reason: str | None
) -> None:
    assert reason_of(status, code, words) == reason


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize(
    "words",
    [
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
        "The decoder prompt (length 21535) is longer than the maximum model length of 16384.",
        "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000",
        "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
        "Range of input length should be [1, 30720]",
        "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
        "Input token length too long",
        "The total length of all messages is too long.",
        "prompt token count of 150000 exceeds the limit of 128000",
        "prompt is too long; exceeded max context length by 12 tokens",
        "the input length exceeds the context length",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        "The input (1492905 tokens) is longer than the model's context length (1048576 tokens).",
        "invalid params, context window exceeds limit (2013)",
    ],
)
def test_a_prompt_that_is_too_long_is_recognised_in_many_words(status: int, words: str) -> None:
    assert reason_of(status, None, words) == "context_too_long"


@pytest.mark.parametrize(
    "code",
    ["context_length_exceeded", "too_many_prompt_tokens", "model_max_prompt_tokens_exceeded"],
)
def test_a_prompt_that_is_too_long_is_recognised_by_its_code(code: str) -> None:
    assert reason_of(400, "400", "No.", codes=(code,)) == "context_too_long"


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "openai/gpt-4o is not a valid model ID"),
        ("model_decommissioned", "No."),
        (None, "The model `m` has been decommissioned and is no longer supported."),
        (None, "Model gpt-4.1-mini was retired on 2026-10-23."),
        ("1500", "No."),
        ("invalid_model", "Invalid model: m"),
        (None, "/chat/completions: Invalid model name passed in model=gpt-4o. Call `/v1/models`"),
        (None, 'Invalid model identifier "gpt-4o". Please specify a valid downloaded model'),
        (None, 'Model "gpt-4o" not found. Please specify a valid model id'),
        (None, "No models loaded. Please load a model in the developer page."),
        (None, "Invalid model 'gpt-4o'. Permitted models can be found in the documentation."),
        (None, "Model Not Exist"),
        (None, "The requested model 'gpt-4o' does not exist"),
        (None, "Unknown model: gpt-4o"),
        (None, "No such model @cf/meta/x or task"),
        (None, "Unable to access model gpt-4o. Please visit the list of models."),
    ],
)
def test_a_model_that_is_gone_is_recognised_under_a_bad_request(
    status: int, code: str | None, words: str
) -> None:
    assert reason_of(status, code, words) == "model_gone"


@pytest.mark.parametrize("status", [400, 403])
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "API key not valid. Please pass a valid API key."),
        (None, "API key expired. Please renew the API key."),
        ("API_KEY_INVALID", "No."),
        (None, "Incorrect API key provided: ab***yz."),
        ("invalid_api_key", "No."),
    ],
)
def test_a_wrong_key_is_recognised_under_a_bad_request(
    status: int, code: str | None, words: str
) -> None:
    assert reason_of(status, code, words) == "invalid_key"


@pytest.mark.parametrize(
    ("words", "parameter"),
    [
        ("Unsupported parameter: 'seed'", "seed"),
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens"),
        ("Unrecognized request argument supplied: metadata", "metadata"),
        ("property 'store' is unsupported, did you mean 'stop'?", "store"),
        ("body.store: property 'body.store' is unsupported", "store"),
        ("`logprobs` is not supported with this model", "logprobs"),
        ("Model grok-4 does not support parameter presencePenalty.", "presence_penalty"),
        ("Argument not supported on this model: stop", "stop"),
        ("unknown field `seed`, expected one of `model`, `messages`, `stop`", "seed"),
        ('json: unknown field "user"', "user"),
        ("Invalid JSON payload received. Unknown name \"store\": Cannot find field.", "store"),
        ("Completions.create() got an unexpected keyword argument 'top_logprobs'", "top_logprobs"),
        ("user: Extra inputs are not permitted", "user"),
        ("Extra inputs are not permitted, field: 'store', value: True", "store"),
        ("registry.ollama.ai/library/gemma3:latest does not support tools", "tools"),
        ('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "tools"),
        ("Only one completion choice is allowed", "n"),
        ("'n' : number must be at most 1", "n"),
    ],
)  # fmt: skip
def test_a_rejected_parameter_is_found_in_many_words(words: str, parameter: str) -> None:
    assert parameter_in(words) == parameter
    reason = "parameter_renamed" if parameter == "max_tokens" else "parameter_unsupported"
    for status in (400, 422):
        assert reason_of(status, None, words, parameter) == reason
    assert reason_of(500, None, words, parameter) is None


@pytest.mark.parametrize(
    "words",
    [
        "This response_format type is unavailable now",
        "This model does not support response format `json_schema`. See supported models.",
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "response_format.type: Input should be 'text' or 'json_object'",
        "'response_format.type' must be 'json_schema' or 'text'",
        "response_format value as json_schema is enabled only for api versions 2024-08-01 and later",
        "model features structured outputs not support",
        "json mode cannot be combined with tool/function calling (response_format)",
    ],
)
def test_a_rejected_response_format_is_found_in_many_words(words: str) -> None:
    assert parameter_in(words) == "response_format"
    assert reason_of(400, None, words, "response_format") == "schema_unsupported"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("decimal_above_max_value", "Invalid 'temperature': decimal above maximum value. Expected <= 2."),
        ("less_than_equal", "temperature: Input should be less than or equal to 2"),
        ("unsupported_value", "Unsupported value: temperature must be between 0 and 2."),
        (None, "temperature must be in the range [0, 2]"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_no_unsupported_parameter(code: str | None, words: str) -> None:
    assert reason_of(400, code, words, "temperature") == "invalid_request"


@pytest.mark.parametrize(
    "words",
    [
        "No.",
        "The model did not call a function.",
        "Your account is not allowed to use this.",
        "Invalid schema for response_format 'output': it is required to be an object.",
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens.",
        "`max_tokens` exceeds the `context_window` for this model",
    ],
)
def test_other_words_have_no_reason_of_their_own(words: str) -> None:
    assert reason_of(400, None, words, parameter_in(words)) in (None, "invalid_request")


def test_a_huge_text_is_judged_quickly() -> None:
    words = "model " * 200_000 + "x" * 2_000_000
    assert parameter_in(words) is None
    assert reason_of(400, None, words) is None
