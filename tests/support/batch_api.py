"""A server on loopback that keeps a provider's Batch API: files, batches and their states, listings in
pages.

    with OpenAIBatches() as api:
        ...  # api.url is a base URL; api.batches is what was created, api.calls what was asked

A batch goes one state on each time it is looked at. `hold` names a call ("POST /files") that has its
effect and never answers: its client can be killed there.
"""

from __future__ import annotations

import contextlib
import email
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.server import completion

Answer = Callable[[dict[str, Any]], tuple[int, Any]]
"""The status and the body for the body of a request; raises `LookupError` to leave it without a line."""

STATES = ("validating", "in_progress", "finalizing", "completed")

ENDED = ("completed", "expired", "cancelled")

_OF_MISTRAL = {
    "validating": "QUEUED",
    "in_progress": "RUNNING",
    "finalizing": "RUNNING",
    "completed": "SUCCESS",
    "failed": "FAILED",
    "expired": "TIMEOUT_EXCEEDED",
    "cancelling": "CANCELLATION_REQUESTED",
    "cancelled": "CANCELLED",
}


def answered(body: dict[str, Any]) -> tuple[int, Any]:
    """A good answer, which repeats the prompt."""
    text = f"To {body['messages'][-1]['content']}"
    return 200, completion(text, model=body["model"])


@dataclass
class Stored:
    """A batch: how it was made, its lines, and the states that are still to come."""

    made: dict[str, Any]
    lines: list[dict[str, Any]]
    states: list[str]
    created: float = field(default_factory=time.time)
    results: dict[str, list[dict[str, Any]]] | None = None

    @property
    def prompts(self) -> list[str]:
        return [line["body"]["messages"][-1]["content"] for line in self.lines]


class OpenAIBatches:
    """OpenAI's form. `states` are those of each new batch, `answer` makes its answers, and `done` is
    the number of rows that are answered before it expires or is cancelled. `errors` are those of a file that fails.
    `page` is the most that a listing has at once. `cuts` results break off in the middle. The calls in
    `lost` have their effect, and 502 for an answer."""

    has_lines_of_the_rest = True
    """Whether the rows that were not answered before the end have an error each."""

    def __init__(
        self,
        *states: str,
        answer: Answer = answered,
        done: int | None = None,
        errors: list[dict[str, Any]] | None = None,
        page: int = 100,
    ) -> None:
        self.states = states or STATES
        self.answer = answer
        self.done = done
        self.errors = errors
        self.page = page
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Stored] = {}
        self.calls: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.hold: str | None = None
        self.cuts = 0
        self.lost: list[str] = []
        self.holding = threading.Event()
        self.replies: dict[str, list[tuple[int, dict[str, str], Any]]] = {}
        self._release = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def sent(self) -> list[str]:
        """The prompts of all batches."""
        return [prompt for stored in self.batches.values() for prompt in stored.prompts]

    def wait_here(self) -> None:
        """Never answer, until the tests are over."""
        self.holding.set()
        self._release.wait(60)

    def upload(self, content: bytes) -> dict[str, Any]:
        id = f"file-{len(self.files) + 1}"
        self.files[id] = content
        return {"id": id, "object": "file", "purpose": "batch", "bytes": len(content)}

    def create(self, made: dict[str, Any]) -> dict[str, Any]:
        return self.add(made, self.files[made["input_file_id"]].splitlines())

    def add(self, made: dict[str, Any], lines: list[bytes]) -> dict[str, Any]:
        id = f"batch_{len(self.batches) + 1}"
        self.batches[id] = Stored(made, [json.loads(line) for line in lines], list(self.states))
        return self.shown(id)

    def shown(self, id: str) -> dict[str, Any]:
        stored = self.batches[id]
        status = stored.states[0]
        shown = {
            "id": id,
            "object": "batch",
            "status": status,
            "created_at": int(stored.created),
            "request_counts": self.counts(stored),
            **stored.made,
            **self.files_of(stored, "output_file_id", "error_file_id"),
        }
        if status == "failed":
            shown["errors"] = {"object": "list", "data": self.errors}
        return shown

    def counts(self, stored: Stored) -> dict[str, int]:
        total = len(stored.lines)
        done = total if stored.states[0] in ENDED else 0
        return {"total": total, "completed": done, "failed": 0}

    def files_of(self, stored: Stored, good: str, bad: str) -> dict[str, str]:
        """The files of a batch that has ended, by these names: its answers, its errors."""
        made = self.results_of(stored)
        found = {good: made["good"], bad: made["bad"]} if made else {}
        return {name: self._file(results) for name, results in found.items() if results}

    def _file(self, results: list[dict[str, Any]]) -> str:
        content = "".join(json.dumps(result) + "\n" for result in results).encode()
        known = {file: id for id, file in self.files.items()}
        return known.get(content) or str(self.upload(content)["id"])

    def results_of(self, stored: Stored) -> dict[str, list[dict[str, Any]]] | None:
        """The good and the bad results of a batch that has ended."""
        status = stored.states[0]
        if status in ENDED and stored.results is None:
            good: list[dict[str, Any]] = []
            bad: list[dict[str, Any]] = []
            for place, line in enumerate(stored.lines):
                result = {"id": f"r{place}", "custom_id": line["custom_id"]}
                if self.done is not None and place >= self.done:
                    if self.has_lines_of_the_rest:
                        error = {"code": f"batch_{status}", "message": "Not executed."}
                        bad.append(result | {"response": None, "error": error})
                    continue
                try:
                    code, body = self.answer({"model": stored.made.get("model"), **line["body"]})
                except LookupError:
                    continue
                (good if code == 200 else bad).append(result | self.result(place, code, body))
            # In no order: OpenAI promises none.
            stored.results = {"good": good[::-1], "bad": bad}
        return stored.results

    def result(self, place: int, code: int, body: Any) -> dict[str, Any]:
        response = {"status_code": code, "request_id": f"req_{place}", "body": body}
        return {"response": response, "error": None}

    def listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        ids = list(self.batches)[::-1]
        if "after" in query:
            ids = ids[ids.index(query["after"][0]) + 1 :]
        size = min(self.page, int(query.get("limit", ["20"])[0]))
        shown = [self.shown(id) for id in ids[:size]]
        return {"object": "list", "data": shown, "has_more": len(ids) > size}


class MistralBatches(OpenAIBatches):
    """Mistral's form, under the names of OpenAI's calls and states: files, and jobs of them."""

    has_lines_of_the_rest = False

    def create(self, made: dict[str, Any]) -> dict[str, Any]:
        (file,) = made["input_files"]
        assert (made["endpoint"], made["timeout_hours"]) == ("/v1/chat/completions", 24)
        lines = self.files[file].splitlines()
        assert all(json.loads(line).keys() == {"custom_id", "body"} for line in lines)
        return self.add(made, lines)

    def shown(self, id: str) -> dict[str, Any]:
        stored = self.batches[id]
        counts = self.counts(stored)
        errors = [{"message": error["message"], "count": 1} for error in self.errors or ()]
        return {
            "id": id,
            "object": "batch",
            "status": _OF_MISTRAL[stored.states[0]],
            "created_at": int(stored.created),
            "total_requests": counts["total"],
            "completed_requests": counts["completed"],
            "succeeded_requests": counts["completed"],
            "failed_requests": 0,
            "errors": errors if stored.states[0] == "failed" else [],
            "output_file": None,
            "error_file": None,
            "outputs": None,
            **stored.made,
            **self.files_of(stored, "output_file", "error_file"),
        }

    def result(self, place: int, code: int, body: Any) -> dict[str, Any]:
        if code == 200:
            return super().result(place, code, body)
        error = body["error"]["message"]
        return {"response": {"status_code": code, "body": None}, "error": error}

    def listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        page, size = (int(query[name][0]) for name in ("page", "page_size"))
        ids = list(self.batches)[::-1]
        shown = [self.shown(id) for id in ids[page * size :][:size]]
        return {"object": "list", "data": shown, "total": len(ids)}


class OpenRouterBatches(OpenAIBatches):
    """OpenRouter's form: no files, no metadata; the requests and the results are in the batch."""

    has_lines_of_the_rest = False

    def create(self, made: dict[str, Any]) -> dict[str, Any]:
        names = list(made)
        requests = made.pop("requests")
        assert names.index("requests") == len(names) - 1, "it is read as a stream"
        assert str(made["model"]).endswith(":batch")
        assert all("model" not in request["body"] for request in requests)
        return self.add(made, [json.dumps(request).encode() for request in requests])

    def shown(self, id: str) -> dict[str, Any]:
        stored = self.batches[id]
        made = self.results_of(stored)
        failed = stored.states[0] == "failed" and self.errors
        return {
            "id": id,
            "object": "batch",
            "status": stored.states[0],
            "created_at": int(stored.created),
            "request_counts": self.counts(stored),
            "error": {"message": failed[0]["message"]} if failed else None,
            "results": made["good"] + made["bad"] if made else None,
            "usage": None,
            **stored.made,
        }

    def result(self, place: int, code: int, body: Any) -> dict[str, Any]:
        if code == 200:
            return super().result(place, code, body)
        error = {"type": "rate_limit_error", "param": None, **body["error"]}
        return {"response": None, "error": error}

    def listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        listed = super().listed(query)
        for batch in listed["data"]:
            del batch["results"]
        return listed


def _handler_of(api: OpenAIBatches) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = urlsplit(self.path)
            _, _, *parts = path.path.replace("/batch/jobs", "/batches").split("/")
            call = f"{self.command} /{parts[0]}" + ("/{id}" if len(parts) > 1 else "")
            api.calls.append(call)
            api.headers.append({name.lower(): value for name, value in self.headers.items()})
            if replies := api.replies.get(call):
                return self._send(*replies.pop(0))
            try:
                reply = self._reply(call, parts, parse_qs(path.query), body)
            except KeyError:
                error = {"message": "No such object.", "type": "invalid_request_error"}
                return self._send(404, {}, {"error": error})
            if call in api.lost:
                api.lost.remove(call)
                return self._send(502, {}, {"error": {"message": "Bad gateway."}})
            held = api.hold == call
            if held and not isinstance(reply, bytes):
                api.wait_here()
            return self._send(200, {}, reply, held=held)

        def _reply(
            self, call: str, parts: list[str], query: dict[str, list[str]], body: bytes
        ) -> Any:
            if call == "POST /files":
                head = f"Content-Type: {self.headers['content-type']}\n\n".encode()
                form: Any = email.message_from_bytes(head + body)
                (file,) = (part for part in form.get_payload() if part.get_filename())
                content = file.get_payload(decode=True)
                return api.upload(content)
            if call == "POST /batches":
                return api.create(json.loads(body))
            if call == "GET /batches":
                return api.listed(query)
            if call == "GET /batches/{id}":
                states = api.batches[parts[1]].states
                if len(states) > 1:
                    states.pop(0)
                return api.shown(parts[1])
            return api.files[parts[1]]

        def _send(
            self, status: int, headers: dict[str, str], reply: Any, *, held: bool = False
        ) -> None:
            content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            kind = "application/octet-stream" if reply is content else "application/json"
            for name, value in {"content-type": kind, **headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            # What is written to a client that was killed is lost.
            with contextlib.suppress(ConnectionError):
                self.end_headers()
                if held:
                    self.wfile.write(content[: len(content) // 2])
                    api.wait_here()
                if api.cuts and (reply is content or b'"custom_id"' in content):
                    api.cuts -= 1
                    self.close_connection = True
                    content = content[: len(content) // 2]
                self.wfile.write(content)

    return Handler


FORMS = {"openai": OpenAIBatches, "mistral": MistralBatches, "openrouter": OpenRouterBatches}
"""By the name of the provider."""
