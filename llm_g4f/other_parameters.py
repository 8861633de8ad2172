"""Parameters of chat completions that other servers know and OpenAI does not.

They are sent as they are. The table is for `arguments.misspelt` alone: no name in it is a slip.
"""

from __future__ import annotations

from collections.abc import Mapping

OTHER_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    # `ChatCompletionRequest` in vllm/entrypoints/openai/chat_completion/protocol.py (2026-08), and
    # before 0.11 in vllm/entrypoints/openai/protocol.py.
    "vLLM": (
        *("top_k", "min_p", "min_tokens", "repetition_penalty", "length_penalty", "bad_words"),
        *("stop_token_ids", "include_stop_str_in_output", "ignore_eos", "use_beam_search", "echo"),
        *("skip_special_tokens", "spaces_between_special_tokens", "add_special_tokens"),
        *("truncate_prompt_tokens", "truncation_side", "prompt_logprobs", "logprob_token_ids"),
        *("allowed_token_ids", "add_generation_prompt", "continue_final_message", "documents"),
        *("chat_template", "chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs"),
        *("structured_outputs", "priority", "request_id", "session_id", "cache_salt"),
        *("return_tokens_as_token_ids", "return_token_ids", "return_token_offsets"),
        *("return_prompt_text", "return_mm_kwargs", "routed_experts_prompt_start"),
        *("kv_transfer_params", "ec_transfer_params", "vllm_xargs", "repetition_detection"),
        *("stream_interval", "thinking_token_budget", "include_reasoning", "watermarking"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structural_tag"),
        *("guided_decoding_backend", "guided_whitespace_pattern", "logits_processors", "best_of"),
    ),
    # `ChatCompletionRequest` in python/sglang/srt/entrypoints/openai/protocol.py.
    "SGLang": (
        *("regex", "ebnf", "stop_regex", "no_stop_trim", "lora_path", "session_params", "task"),
        *("separate_reasoning", "stream_reasoning", "return_hidden_states", "return_meta_info"),
        *("return_routed_experts", "routed_experts_start_len", "return_cached_tokens_details"),
        *("return_prompt_token_ids", "max_dynamic_patch", "min_dynamic_patch", "images_config"),
        *("use_audio_in_video", "custom_logit_processor", "custom_params", "input_ids", "rid"),
        *("extra_key", "ngram_corpus_id", "bootstrap_host", "bootstrap_port", "bootstrap_room"),
        *("routed_dp_rank", "disagg_prefill_dp_rank", "data_parallel_rank"),
    ),
    # `GenerateParameters` in docs/openapi.json of text-generation-inference.
    "TGI": (
        *("adapter_id", "decoder_input_details", "details", "do_sample", "max_new_tokens"),
        *("return_full_text", "top_n_tokens", "truncate", "typical_p", "watermark"),
    ),
    # tools/server/README.md, "POST /completion" and "POST /v1/chat/completions".
    "llama.cpp": (
        *("n_predict", "n_probs", "n_indent", "n_keep", "n_cmpl", "n_cache_reuse", "min_keep"),
        *("repeat_penalty", "repeat_last_n", "dynatemp_range", "dynatemp_exponent", "grammar"),
        *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "json_schema"),
        *("dry_sequence_breakers", "xtc_probability", "xtc_threshold", "samplers", "lora"),
        *("mirostat", "mirostat_tau", "mirostat_eta", "t_max_predict_ms", "id_slot"),
        *("cache_prompt", "return_tokens", "timings_per_token", "return_progress"),
        *("sse_ping_interval", "post_sampling_probs", "response_fields", "reasoning_control"),
    ),
    # `ChatCompletionRequest` in openai/openai.go, and /api/chat in docs/api.md.
    "Ollama": ("reasoning", "think", "keep_alive", "options", "format", "num_ctx", "num_predict"),
    # lmstudio.ai/docs/api/ttl-and-auto-evict.
    "LM Studio": ("ttl",),
    # `ChatRequest` of its SDK (openrouter 1.3.84); openrouter.ai/docs/api-reference/overview.
    "OpenRouter": (
        *("models", "route", "transforms", "plugins", "top_a", "cache_control", "debug", "trace"),
        *("deferred_tools", "image_config", "stop_server_tools_when"),
    ),
    # `CompletionCreateParamsBase` of its SDK (groq 1.7.0).
    "Groq": (
        *("reasoning_format", "citation_options", "compound_custom", "disable_tool_validation"),
        *("exclude_domains", "include_domains", "search_settings"),
    ),
    # `ChatCompletionRequest` of its SDK (mistralai 3.7.0).
    "Mistral": ("random_seed", "safe_prompt", "prompt_mode", "guardrails", "top_prompt_logprobs"),
    # `CompletionCreateParamsBase` of its SDK (together 3.1.1).
    "Together": ("context_length_exceeded_behavior", "safety_model", "compliance"),
    # `CompletionCreateParamsBase` of its SDK (fireworks-ai 1.2.30), which has "thinking" as DeepSeek
    # has it.
    "Fireworks": (
        *("thinking", "echo_last", "mirostat_lr", "mirostat_target", "perf_metrics_in_response"),
        *("prompt_cache_isolation_key", "prompt_truncate_len", "raw_output", "reasoning_history"),
        *("safe_tokenization", "speculation"),
    ),
}
"""By the server that was looked up first; most names are known to several."""
