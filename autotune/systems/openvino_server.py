"""Serve OpenVINO GenAI's continuous batching as an OpenAI-compatible endpoint.

OpenVINO GenAI is a library without a server, and OpenVINO Model Server is a program of its own that not
everybody has. This one is a few lines over ``ContinuousBatchingPipeline``, so that what is measured is the
pipeline. It is run as a file by the Python that has ``openvino_genai``, and so imports the standard library
and that package only::

    python openvino_server.py --model FOLDER_OR_GGUF --port 8000 [--scheduler JSON] [--properties JSON]

One thread steps the pipeline; a thread per connection waits for its tokens. Every token is sent as soon as
it is there, as one event of the stream.
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Body = Mapping[str, Any]
"""Body of a request, plain JSON data."""

Answers = queue.Queue[Any]
"""Outputs of one request as the pipeline makes them."""

_IDLE_S = 0.5  # the server's thread looks this often whether it should end
_MODEL_ID = "openvino"


class PipelineLoop:
    """The thread that steps one pipeline for all requests.

    Args:
        pipeline: ``openvino_genai.ContinuousBatchingPipeline``.
        genai: The package.
    """

    def __init__(self, pipeline: Any, genai: Any) -> None:
        self.pipeline, self.genai = pipeline, genai
        self.tokenizer = pipeline.get_tokenizer()
        self.steps = 0
        self._work = threading.Condition()
        self._waiting: list[tuple[Any, Any, Answers]] = []
        self._count = 0
        threading.Thread(target=self._run, daemon=True).start()

    def encode(self, text: str) -> Any:
        """Return the tokens of a text as a tensor, ``1 x n``."""
        return self.tokenizer.encode(text).input_ids

    def submit(self, prompt: Any, body: Body) -> Answers:
        """Hand a request to the server; its tokens come through the queue, then ``None`` or an error.

        Raises:
            ValueError: There are no tokens: the pipeline would fail for everybody.
        """
        if not prompt.shape[1]:
            raise ValueError("the prompt has no tokens")
        answers: Answers = queue.Queue()
        with self._work:
            self._waiting.append((prompt, self._config(body), answers))
            self._work.notify()
        return answers

    def _config(self, body: Body) -> object:
        config = self.genai.GenerationConfig()
        config.max_new_tokens = _wanted(body)
        config.ignore_eos = bool(body.get("ignore_eos", False))
        if not config.ignore_eos:
            config.set_eos_token_id(self.tokenizer.get_eos_token_id())
        temperature = float(body.get("temperature", 1.0))
        config.do_sample = temperature > 0
        if config.do_sample:
            config.temperature, config.top_p = temperature, float(body.get("top_p", 1.0))
        if int(body.get("num_assistant_tokens", 0)):
            config.num_assistant_tokens = int(body["num_assistant_tokens"])
        return config

    def _run(self) -> None:
        running: dict[int, tuple[Any, Answers]] = {}
        while True:
            with self._work:
                while not self._waiting and not running:
                    self._work.wait(_IDLE_S)
                waiting, self._waiting = self._waiting, []
            for prompt, config, answers in waiting:
                self._count += 1
                try:
                    handle = self.pipeline.add_request(self._count, prompt, config)
                    running[self._count] = (handle, answers)
                except RuntimeError as error:
                    answers.put(error)
            try:
                self.pipeline.step()
            except Exception as error:  # noqa: BLE001 - whatever it is, every request must hear of it
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
                for _, answers in running.values():
                    answers.put(error)
                running.clear()
                signal.raise_signal(signal.SIGABRT)  # a pipeline that failed once is not to be trusted
            self.steps += 1
            for number, (handle, answers) in list(running.items()):
                while handle.can_read():
                    for output in handle.read().values():
                        answers.put([int(token) for token in output.generated_ids])
                if handle.get_status() != self._status.RUNNING:
                    answers.put(None)
                    del running[number]

    @property
    def _status(self) -> Any:
        from openvino_genai import py_openvino_genai  # type: ignore[import-not-found]

        return py_openvino_genai.GenerationStatus


class Handler(BaseHTTPRequestHandler):
    """One connection and its answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or tokens wait 40 ms for the client's acknowledgement of those before
    loop: PipelineLoop
    facts: Body

    def do_GET(self) -> None:
        """Answer ``/health``, ``/version``, ``/v1/models`` and ``/metrics``."""
        if self.path == "/health":
            self._json({"status": "ok"})
        elif self.path == "/version":
            self._json(self.facts)
        elif self.path == "/v1/models":
            self._json({"object": "list", "data": [{"id": _MODEL_ID, "object": "model"}]})
        elif self.path == "/metrics":
            self._send(self._counters().encode(), "text/plain; version=0.0.4")
        else:
            self._json({"error": {"message": f"no such path: {self.path}"}}, 404)

    def do_POST(self) -> None:
        """Answer ``/v1/completions``, ``/v1/chat/completions`` and ``/tokenize``."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path == "/tokenize":
            ids = self.loop.encode(str(body.get("prompt", body.get("content", "")))).data[0]
            self._json({"tokens": [int(token) for token in ids], "count": len(ids)})
            return
        if self.path not in ("/v1/completions", "/v1/chat/completions"):
            self._json({"error": {"message": f"no such path: {self.path}"}}, 404)
            return
        chat = self.path.endswith("/chat/completions")
        try:
            prompt = self.loop.encode(self._prompt(body, chat))
            answers = self.loop.submit(prompt, body)
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            self._json({"error": {"message": f"{type(error).__name__}: {error}"}}, 400)
            return
        if body.get("stream"):
            self._stream(prompt.shape[1], answers, body, chat)
        else:
            self._whole(prompt.shape[1], answers, body, chat)

    def _prompt(self, body: Body, chat: bool) -> str:
        if not chat:
            return str(body["prompt"])
        tokenizer = self.loop.tokenizer
        if tokenizer.chat_template:
            return str(tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True))
        return "\n".join(str(message["content"]) for message in body["messages"])

    def _whole(self, prompt: int, answers: Answers, body: Body, chat: bool) -> None:
        tokens: list[int] = []
        while (piece := answers.get()) is not None:
            if isinstance(piece, Exception):
                self._json({"error": {"message": str(piece)}}, 500)
                return
            tokens += piece
        answer = self._choice(self.loop.tokenizer.decode(tokens), chat, "message", _finish(tokens, body))
        self._json({**answer, "usage": self._usage(prompt, len(tokens))})

    def _stream(self, prompt: int, answers: Answers, body: Body, chat: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in self._events(prompt, answers, body, chat):
                data = f"data: {event}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # who asked is gone; the request runs to its end

    def _events(self, prompt: int, answers: Answers, body: Body, chat: bool) -> Iterator[str]:
        decode, tokens = self.loop.tokenizer.decode, []
        start, known = 0, 0  # text is decoded from `start` on, and was sent up to the token `known`
        while (piece := answers.get()) is not None:
            if isinstance(piece, Exception):
                yield json.dumps({"error": {"message": str(piece)}})
                return
            for token in piece:
                tokens.append(token)
                said, whole, new = decode(tokens[start:known]), decode(tokens[start:]), ""
                # an incomplete character waits for its other bytes; the event of its token is sent anyway
                if not whole.endswith("\ufffd"):
                    new, start, known = whole[len(said) :], known, len(tokens)
                last = "length" if len(tokens) >= _wanted(body) else None
                yield json.dumps(self._choice(new, chat, "delta", last))
        if len(tokens) < _wanted(body):
            yield json.dumps(self._choice("", chat, "delta", "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            answer = self._choice("", chat, "delta", None)
            yield json.dumps({**answer, "choices": [], "usage": self._usage(prompt, len(tokens))})
        yield "[DONE]"

    def _choice(self, text: str, chat: bool, key: str, finish: str | None) -> dict[str, object]:
        said = {key: {"role": "assistant", "content": text}} if chat else {"text": text}
        kind = "chat.completion" if chat else "text_completion"
        choice = {"index": 0, **said, "finish_reason": finish}
        return {"object": kind, "created": int(time.time()), "model": _MODEL_ID, "choices": [choice]}

    def _usage(self, prompt: int, produced: int) -> dict[str, int]:
        return {"prompt_tokens": prompt, "completion_tokens": produced, "total_tokens": prompt + produced}

    def _counters(self) -> str:
        found = self.loop.pipeline.get_metrics()
        values = {
            "openvino_requests": found.requests,
            "openvino_scheduled_requests": found.scheduled_requests,
            "openvino_cache_usage_percent": found.cache_usage,
            "openvino_cache_usage_percent_max": found.max_cache_usage,
            "openvino_steps_total": self.loop.steps,
        }
        return "".join(f"{name} {value}\n" for name, value in values.items())

    def _json(self, data: Any, status: int = 200) -> None:
        self._send(json.dumps(data).encode(), "application/json", status)

    def _send(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Keep the log for errors: a line per request would cost time in the load."""


class Server(ThreadingHTTPServer):
    """A server whose listening queue holds the first burst of a load."""

    daemon_threads = True
    request_queue_size = 1024


def _wanted(body: Body) -> int:
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)  # OpenAI's own default


def _finish(tokens: list[int], body: Body) -> str:
    return "length" if len(tokens) >= _wanted(body) else "stop"


def _readable(model: str, folder: Path, genai: Any) -> str:
    """Return a draft model as ``draft_model`` reads it: a GGUF file is converted into ``folder``.

    A pipeline reads GGUF, ``draft_model`` does not; a pipeline can save what it has read.
    """
    if not model.endswith(".gguf"):
        return model
    (folder / "draft.gguf").symlink_to(Path(model).resolve())
    saved = {"enable_save_ov_model": True}
    genai.ContinuousBatchingPipeline(str(folder / "draft.gguf"), genai.SchedulerConfig(), "CPU", saved, saved)
    return str(folder)


def main() -> None:
    """Load the model, then serve until TERM."""
    parser = argparse.ArgumentParser(description="OpenVINO GenAI as an OpenAI-compatible endpoint.")
    parser.add_argument("--model", required=True, help="folder of an OpenVINO model, or a GGUF file")
    parser.add_argument("--draft-model", default="", help="the same for the model that drafts")
    parser.add_argument("--device", default="CPU")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--scheduler", type=json.loads, default={}, help="fields of SchedulerConfig, JSON")
    parser.add_argument("--properties", type=json.loads, default={}, help="properties of the plugin, JSON")
    options = parser.parse_args()
    # the folder of this file comes first on the path, and has an `openvino` of its own
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).resolve().parent)]
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    for name, value in options.scheduler.items():
        if not hasattr(scheduler, name):
            parser.error(f"argument --scheduler: SchedulerConfig has no {name!r}")
        setattr(scheduler, name, value)
    more = dict(options.properties)
    # bound before the model is loaded: a taken port is known at once
    server = Server((options.host, options.port), Handler, bind_and_activate=False)
    server.server_bind()
    with tempfile.TemporaryDirectory() as folder:
        if options.draft_model:
            draft = _readable(options.draft_model, Path(folder), genai)
            more["draft_model"] = genai.draft_model(draft, options.device)
        pipeline = genai.ContinuousBatchingPipeline(options.model, scheduler, options.device, more)
    Handler.loop = PipelineLoop(pipeline, genai)
    Handler.facts = {"version": genai.__version__, "scheduler": scheduler.to_string()}
    server.server_activate()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    server.serve_forever()


if __name__ == "__main__":
    main()
