"""A server on loopback that keeps OpenAI's Batch API: files, batches and their states, listings in pages.

    with BatchAPI() as api:
        ...  # api.url is a base URL; api.batches is what was created, api.calls what was asked

A batch goes one state on each time it is looked at. `hold` names a call ("POST /files") that has its
effect and never answers: its client can be killed there.
"""

from __future__ import annotations

import contextlib
import email
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.server import completion

Answer = Callable[[dict[str, Any]], tuple[int, Any]]
"""The status and the body for the body of a request; raises `LookupError` to leave it without a line."""

STATES = ("validating", "in_progress", "finalizing", "completed")


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
    files: dict[str, str] = field(default_factory=dict)

    @property
    def prompts(self) -> list[str]:
        return [line["body"]["messages"][-1]["content"] for line in self.lines]


class BatchAPI:
    """`states` are those of each new batch, `answer` makes its answers, and `done` is the number of
    rows that are answered before it expires or is cancelled. `errors` are those of a file that fails.
    `page` is the most that a listing has at once. `cuts` files break off in the middle."""

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
        self.holding = threading.Event()
        self.replies: dict[str, list[tuple[int, dict[str, str], Any]]] = {}
        self._release = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> BatchAPI:
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
        lines = [json.loads(line) for line in self.files[made["input_file_id"]].splitlines()]
        id = f"batch_{len(self.batches) + 1}"
        self.batches[id] = Stored(made, lines, list(self.states))
        return self.shown(id)

    def shown(self, id: str) -> dict[str, Any]:
        stored = self.batches[id]
        status = stored.states[0]
        ended = status in ("completed", "expired", "cancelled")
        if ended and not stored.files:
            stored.files = self._results(stored, status)
        shown = {
            "id": id,
            "object": "batch",
            "status": status,
            "created_at": 1_790_000_000,
            "request_counts": {
                "total": len(stored.lines),
                "completed": len(stored.lines) if ended else 0,
                "failed": 0,
            },
            **stored.made,
            **(stored.files if ended else {}),
        }
        if status == "failed":
            shown["errors"] = {"object": "list", "data": self.errors}
        return shown

    def _results(self, stored: Stored, status: str) -> dict[str, str]:
        """The files of a batch that has ended: its answers, its errors."""
        good: list[Any] = []
        bad: list[Any] = []
        for place, line in enumerate(stored.lines):
            result: dict[str, Any] = {"id": f"r{place}", "custom_id": line["custom_id"]}
            if self.done is not None and place >= self.done:
                error = {"code": f"batch_{status}", "message": "Not executed."}
                bad.append(result | {"response": None, "error": error})
                continue
            try:
                code, body = self.answer(line["body"])
            except LookupError:
                continue
            response = {"status_code": code, "request_id": f"req_{place}", "body": body}
            (good if code == 200 else bad).append(result | {"response": response, "error": None})
        # In no order: OpenAI promises none.
        names = {"output_file_id": good[::-1], "error_file_id": bad}
        return {name: self.upload(_lines(found))["id"] for name, found in names.items() if found}

    def listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        ids = list(self.batches)[::-1]
        if "after" in query:
            ids = ids[ids.index(query["after"][0]) + 1 :]
        size = min(self.page, int(query.get("limit", ["20"])[0]))
        shown = [self.shown(id) for id in ids[:size]]
        return {"object": "list", "data": shown, "has_more": len(ids) > size}


def _lines(results: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(result) + "\n" for result in results).encode()


def _handler_of(api: BatchAPI) -> type[BaseHTTPRequestHandler]:
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
            _, _, *parts = path.path.split("/")
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
                if reply is content and api.cuts:
                    api.cuts -= 1
                    self.close_connection = True
                    content = content[: len(content) // 2]
                self.wfile.write(content)

    return Handler
