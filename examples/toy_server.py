"""The server that server.yaml tunes: OpenAI's interface over a few slots that share one processor.

More slots serve more requests at once, each of them more slowly.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("--slots", type=int, default=1)
parser.add_argument("--step", type=float, default=0.004, help="seconds per token and busy slot")
OPTIONS = parser.parse_args()
SLOTS = threading.Semaphore(OPTIONS.slots)


class Handler(BaseHTTPRequestHandler):
    """Answer completions, streamed token by token."""

    protocol_version = "HTTP/1.1"
    busy = 0

    def log_message(self, *_: object) -> None:
        """Keep the log short."""

    def do_GET(self) -> None:
        """List the only model: the server is ready."""
        self.begin("application/json", body := json.dumps({"data": [{"id": "toy"}]}).encode())
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Write as many tokens as were asked for."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        count = int(asked.get("max_tokens", 1))
        usage = {"prompt_tokens": 4, "completion_tokens": count, "total_tokens": 4 + count}
        if not asked.get("stream"):
            choice = {"index": 0, "text": " a" * count, "finish_reason": "length"}
            self.begin("application/json", body := json.dumps({"choices": [choice], "usage": usage}).encode())
            self.wfile.write(body)
            return
        self.begin("text/event-stream")
        with SLOTS:
            Handler.busy += 1
            for _ in range(count):
                time.sleep(OPTIONS.step * (1 + 0.25 * Handler.busy))
                self.event({"choices": [{"index": 0, "text": " a", "finish_reason": None}]})
            Handler.busy -= 1
        last = {"index": 0, "text": "", "finish_reason": "length"}
        self.event({"choices": [last], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def begin(self, kind: str, body: bytes | None = None) -> None:
        """Send the head of an answer; a stream ends with its connection."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header(*(("Connection", "close") if body is None else ("Content-Length", str(len(body)))))
        self.end_headers()

    def event(self, data: dict) -> None:
        """Send one event of the stream."""
        self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()


ThreadingHTTPServer(("127.0.0.1", OPTIONS.port), Handler).serve_forever()
