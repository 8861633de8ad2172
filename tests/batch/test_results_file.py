"""The results file, after every way in which an earlier run may have ended."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.batch.results_file import ResultsFile, RowState
from llm_g4f.errors import LedgerError

ANSWER = {"id": "a", "text": "yes"}
FAILURE = {"id": "b", "error": {"type": "RateLimitError"}}
INVALID = {"id": "line 3", "error": {"type": "BadRequestError", "line": 3}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def written(*results: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in results)


def results(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def opened(path: Path) -> Iterator[ResultsFile]:
    with closing(ResultsFile(path)) as results_file:
        yield results_file


def test_an_appended_result_is_in_the_file_at_once(path: Path) -> None:
    with opened(path) as results_file:
        for text, kept in (("é\n", "é\n"), ("\ud83d", "\ufffd")):
            results_file.append({"id": kept, "text": text})
            assert results(path)[-1]["text"] == kept
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    ("id", "state"),
    [
        ("a", RowState.ANSWERED),
        ("b", RowState.FAILED),
        ("line 3", RowState.INVALID),
        (1, RowState.ANSWERED),
        ("1", RowState.MISSING),
    ],
)
def test_the_state_of_an_id(path: Path, id: str | int, state: RowState) -> None:
    path.write_bytes(written(ANSWER, FAILURE, INVALID, {"id": 1, "text": ""}))
    with opened(path) as results_file:
        assert results_file.index.state(id) is state


def test_a_torn_line_is_removed(path: Path) -> None:
    whole = written(ANSWER)
    for cut in range(len(whole) - 1):
        path.write_bytes(whole + whole[:cut])
        with opened(path) as results_file:
            results_file.append(FAILURE)
        assert results(path) == [ANSWER, FAILURE]


ZEROS = b"\0" * 5_000


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (written(ANSWER) + ZEROS, [ANSWER]),
        (written(ANSWER)[:-1] + ZEROS, [ANSWER]),
        (written(ANSWER) + written(FAILURE)[:12] + ZEROS, [ANSWER]),
        (written(ANSWER)[:12] + ZEROS, []),
        # Later blocks may be on the disk when earlier ones are not.
        (written(ANSWER) + ZEROS + written(FAILURE)[-9:] + written(INVALID), [ANSWER, INVALID]),
        (
            written(ANSWER) + b'{"id": "c", "text": "' + ZEROS + b'"}\n' + written(INVALID),
            [ANSWER, INVALID],
        ),
        (written(ANSWER) + ZEROS + written(FAILURE)[-9:-1] + ZEROS, [ANSWER]),
        (written(ANSWER) + b'{"i' + ZEROS + b"\n", [ANSWER]),
    ],
)
def test_zeros_of_a_power_loss_are_removed(
    path: Path, content: bytes, kept: list[dict[str, Any]]
) -> None:
    path.write_bytes(content)
    last = {"id": "d", "text": "on"}
    with opened(path) as results_file:
        results_file.append(last)
    assert results(path) == [*kept, last]


def test_an_answer_without_its_line_end_is_kept(path: Path) -> None:
    path.write_bytes(written(FAILURE, ANSWER)[:-1])
    with opened(path) as results_file:
        assert results_file.index.state("a") is RowState.ANSWERED
        results_file.append({"id": "c", "text": ""})
    assert [one["id"] for one in results(path)] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "other",
    [
        b"my notes",
        b'"my notes"\n',
        b"{}\n",
        b'{"prompt": "a"}\n',
        written(ANSWER) + b"my notes\n",
        written(ANSWER) + b"my notes",
        written(ANSWER) + b'{"id": "b", "te\n' + written(FAILURE),
        b"\0" * 10,
        b'{"id":\0\0"a"}',
        written(ANSWER) + b"PNG" + b"\0" * 10 + b"\n",
        written(ANSWER) + b"PNG" + b"\0" * 10 + b"x",
        # What has an id is not yet a result: rows, other people's JSON.
        b'{"id": "a", "prompt": "mine"}\n',
        b'{"id":null,"jsonrpc":"2.0"}',
        b'{"id":1.5,"text":"x"}',
        b'{"id":"\xff","text":"x"}\n',
        written(ANSWER) + b'{"id":"a","text":"\xff"}\n',
        written(ANSWER) + b'{"id":"a","text":"x","\xff":1}\n',
        b'{"id":"a","text":%s%s}' % (b"[" * 50_000, b"]" * 50_000),
    ],
)
def test_another_file_is_not_changed(path: Path, other: bytes) -> None:
    path.write_bytes(other)
    with pytest.raises(LedgerError, match=r"out\.jsonl, line \d: not a result of a batch"):
        ResultsFile(path)
    assert path.read_bytes() == other
    assert sorted(os.listdir(path.parent)) == ["llm", path.name]


def test_is_current(path: Path) -> None:
    other = {**INVALID, "error": {"type": "BadRequestError", "line": 4}}
    with opened(path) as results_file:
        assert not results_file.is_current(INVALID)
        for result in (INVALID, ANSWER, other):
            results_file.append(result)
            assert results_file.is_current(result)
        assert not results_file.is_current(INVALID)


def test_compact_removes_replaced_failures(path: Path) -> None:
    path.write_bytes(written(FAILURE, ANSWER, INVALID))
    with opened(path) as results_file:
        results_file.append({"id": "b", "text": "at last"})
        assert len(results(path)) == 4
        results_file.compact()
        assert results(path) == [ANSWER, INVALID, {"id": "b", "text": "at last"}]
        results_file.append({"id": "c", "text": "and on"})
    assert [one["id"] for one in results(path)] == ["a", "line 3", "b", "c"]


def test_opening_removes_replaced_failures(path: Path) -> None:
    again = {"id": "b", "error": {"type": "APITimeoutError"}}
    path.write_bytes(written(FAILURE, ANSWER, again, FAILURE, ANSWER | {"id": "d"}, again))
    with opened(path):
        assert results(path) == [ANSWER, ANSWER | {"id": "d"}, again]
    assert sorted(os.listdir(path.parent)) == ["llm", path.name]


def test_answers_of_rows_without_ids_outlast_every_compaction(path: Path) -> None:
    answers = [{"id": number, "text": "yes", "digest": f"d{number}"} for number in (1, 2)]
    path.write_bytes(written(FAILURE, FAILURE, *answers))
    with opened(path) as results_file:
        results_file.append({"id": "b", "text": "at last"})
        results_file.compact()
    assert results(path) == [*answers, {"id": "b", "text": "at last"}]


@pytest.mark.skipif(os.name == "nt", reason="links are POSIX's")
def test_a_file_with_two_names_stays_one(path: Path) -> None:
    other = path.with_name("other")
    path.write_bytes(written(FAILURE))
    other.hardlink_to(path)
    for _ in range(2):
        with opened(path) as results_file:
            results_file.append({"id": "b", "text": "at last"})
            results_file.finish(compact=True)
            assert results_file.index.state("b") is RowState.ANSWERED
    assert other.samefile(path)


def test_a_failure_does_not_replace_an_answer(path: Path) -> None:
    path.write_bytes(written(ANSWER, {"id": "a", "error": {"type": "RateLimitError"}}))
    with opened(path) as results_file:
        assert results_file.index.state("a") is RowState.ANSWERED
    assert results(path) == [ANSWER]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_the_mode_of_the_file_is_kept(path: Path) -> None:
    umask = os.umask(0o027)
    try:
        with opened(path):
            pass
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o604)
        path.write_bytes(written(FAILURE, ANSWER | {"id": "b"}))
        with opened(path):
            assert results(path) == [ANSWER | {"id": "b"}]
        assert path.stat().st_mode & 0o777 == 0o604
    finally:
        os.umask(umask)


def test_a_symlink_is_kept(path: Path) -> None:
    target = path.parent / "elsewhere"
    target.write_bytes(written(FAILURE, ANSWER | {"id": "b"}))
    path.symlink_to(target)
    with opened(path):
        pass
    assert path.is_symlink()
    assert results(target) == [ANSWER | {"id": "b"}]


def test_a_path_that_is_not_a_file_is_an_error(path: Path) -> None:
    with pytest.raises(LedgerError, match="is not a regular file"):
        ResultsFile(Path(os.devnull))
    with pytest.raises(LedgerError, match="cannot be written: No such file"):
        ResultsFile(path.parent / "nowhere" / "out")


def test_the_file_is_locked(path: Path) -> None:
    with opened(path):
        with pytest.raises(LedgerError, match=r"out\.jsonl is being written by another run"):
            ResultsFile(path)
    with opened(path):
        pass


def hold(path: Path, ready: Any) -> None:
    with opened(path):
        ready.set()
        signal.pause()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_a_killed_run_leaves_no_lock(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(path, ready))
    other.start()
    assert ready.wait(30)
    with pytest.raises(LedgerError, match="another run"):
        ResultsFile(path)
    other.kill()
    other.join()
    other.close()
    with opened(path) as results_file:
        results_file.append(ANSWER)
    assert results(path) == [ANSWER]
    assert sorted(os.listdir(path.parent)) == ["llm", path.name]


@pytest.mark.skipif(os.name == "nt", reason="limits are POSIX's")
@pytest.mark.parametrize("room", [0, 10], ids=["nothing fits", "a part fits"])
def test_a_full_disk_is_an_error_and_leaves_complete_lines(path: Path, room: int) -> None:
    import resource

    with opened(path) as results_file:
        results_file.append(ANSWER)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
        try:
            with pytest.raises(
                LedgerError, match=r"cannot be written: (File too large|the disk is)"
            ):
                results_file.append(FAILURE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert results(path) == [ANSWER]
        results_file.append(FAILURE)
    assert results(path) == [ANSWER, FAILURE]


def test_repeated_ids_are_found_with_their_lines(path: Path) -> None:
    path.write_bytes(written(ANSWER))
    ids: list[str | int] = ["a", 1, "1", "a", 1]
    with opened(path) as results_file:
        earlier = [results_file.index.add_row(id, line) for line, id in enumerate(ids, 1)]
        assert earlier == [None, None, None, 1, 2]
        assert results_file.index.state("a") is RowState.ANSWERED
