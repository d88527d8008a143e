"""A server as they are in the field: its manners are the first part of the path, joined by ``-``.

``http://host:port/onlychat-strict`` serves chats only and refuses fields that it does not know. Everything
that was asked is kept in ``server.asked``. ``python field_server.py PORT`` serves in a process of its own.
"""

import http.server
import json
import os
import sys
import time

from tests_shared import serving_in_a_thread

KNOWN = {"model", "prompt", "messages", "max_tokens", "stream", "stream_options", "temperature"}
BUSY_TIMES = 3
STREAM_S = 0.004  # a server that takes no time is asked thousands of times
WORD = " w00"
HIDDEN = 500  # tokens of reasoning
KEY = "Bearer the-key"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        manners, path = self.place()
        if "auth" in manners and self.headers.get("Authorization") != KEY:
            return self.plain(401, {"error": {"message": "Invalid API key"}})
        if "loading" in manners:
            return self.plain(503, {"error": {"message": "Loading model"}}, {"Retry-After": "0"})
        if path == "/v1/models" and "nomodels" not in manners and "nowhere" not in manners:
            return self.plain(200, {"data": [{"id": "field"}]})
        if path == "/health" and "nohealth" not in manners and "nowhere" not in manners:
            return self.plain(200, {})
        return self.plain(404, {"detail": "Not Found"})

    def do_POST(self):
        manners, path = self.place()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((path, body, dict(self.headers)))
        if self.server.tells:
            print(json.dumps(body), flush=True)
        refusal = self.refusal(manners, path, body)
        if refusal is not None:
            return self.plain(*refusal)
        if path == "/tokenize":
            return self.plain(
                200, {"count": len(body["prompt"].split()) + bool(body.get("add_special_tokens", True))}
            )
        return self.answer(manners, path.endswith("/chat/completions"), body)

    def place(self):
        """Return the manners and the path behind them."""
        _, first, *rest = self.path.split("/")
        if first in ("v1", "health", "tokenize"):
            return self.server.manners, self.path
        return self.server.manners | set(first.split("-")), "/" + "/".join(rest)

    def refusal(self, manners, path, body):
        """Return status, error and headers of what a manner refuses."""
        if manners & {"auth", "authpost"} and self.headers.get("Authorization") != KEY:
            return 401, {"error": {"message": "Invalid API key"}}
        if path == "/tokenize":
            return None if "tokenize" in manners else (404, {"detail": "Not Found"})
        paths = (
            ("/v1/chat/completions",)
            if "onlychat" in manners
            else ("/v1/completions", "/v1/chat/completions")
        )
        if path not in paths or "nowhere" in manners:
            return 404, {"detail": "Not Found"}
        if "busy" in manners and (self.server.refused < BUSY_TIMES or (body.get("stream") and self.lucky())):
            self.server.refused += 1
            return 429, {"error": {"message": "rate limit"}}, {"Retry-After": "0"}
        if "busyforever" in manners:
            return 503, {"error": {"message": "Loading model"}}, {"Retry-After": "3600"}
        unknown = sorted(set(body) - KNOWN)
        if "strict" in manners and unknown:
            return 400, {"error": {"message": f"Unrecognized request argument supplied: {unknown[0]}"}}
        if "silent" in manners and unknown:
            return 422, {"detail": "the request is invalid"}
        if "nomaxtok" in manners and "max_tokens" in body:
            text = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": text}}
        if "notemperature" in manners and "temperature" in body:
            text = "Unsupported value: 'temperature' does not support 0.0 with this model."
            return 400, {"error": {"message": text}}
        if body.get("temperature", 0) > 2:
            return 400, {"error": {"message": "temperature must be at most 2"}}
        if "nooptions" in manners and "stream_options" in body:
            return 400, {"error": {"message": "stream_options is not supported"}}
        return None

    def lucky(self):
        """Return whether this is every third request."""
        return len(self.server.asked) % 3 == 0

    def answer(self, manners, chat, body):
        wanted = int(body.get("max_tokens") or body.get("max_completion_tokens") or 16)
        total = max(1, wanted // 2) if "short" in manners else wanted
        usage = self.usage(manners, total)
        if not body.get("stream") or "whole" in manners:
            text = WORD * total
            choice = {"message": {"content": text}} if chat else {"text": text}
            return self.plain(
                200, {"choices": [{"index": 0, "finish_reason": "length", **choice}], "usage": usage}
            )
        if "allhidden" in manners:
            total = 0
        elif "hidesuntold" in manners:
            total = 2
        per = 4 if "multi" in manners else int(body.get("draft", 0)) + 1
        sizes = [min(per, total - at) for at in range(0, total, per)]
        events = [self.chunk(chat, WORD * size) for size in sizes]
        if "oom" in manners:
            events[1:] = [{"object": "error", "message": "CUDA out of memory. Tried to allocate 2.00 GiB"}]
        else:
            events.append(self.chunk(chat, "", "stop" if "stop" in manners else "length"))
        if "nousage" not in manners and body.get("stream_options", {}).get("include_usage"):
            events.append({"choices": [], "usage": usage})
        time.sleep(STREAM_S)
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        kind = "text/plain" if "plain" in manners else "text/event-stream"
        return self.send(200, kind, (": ping\n\nevent: ping\ndata:\n\n" + data).encode())

    def usage(self, manners, total):
        """Return what it says of its tokens: all of them, with those of reasoning that it does not stream."""
        if "allhidden" in manners:
            details = {"completion_tokens_details": {"reasoning_tokens": total}}
            return {"prompt_tokens": 7, "completion_tokens": total, **details}
        made = total + HIDDEN if "hides" in manners else total
        said = {"prompt_tokens": 7, "completion_tokens": made}
        if "hides" in manners:
            said["completion_tokens_details"] = {"reasoning_tokens": HIDDEN}
        if "textcounts" in manners:
            return {name: str(value) for name, value in said.items()}
        if "oddcounts" in manners:
            return dict.fromkeys(said, True)
        return said

    def chunk(self, chat, text, reason=None):
        choice = {"delta": {"content": text}} if chat else {"text": text}
        return {"choices": [{"index": 0, "finish_reason": reason, **choice}]}

    def plain(self, status, found, headers=None):
        self.send(status, "application/json", json.dumps(found).encode(), headers)

    def send(self, status, kind, data, headers=None):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port=0, manners=""):
        super().__init__(("127.0.0.1", port), Handler)
        self.asked, self.refused, self.manners = [], 0, set(filter(None, manners.split("-")))
        self.tells = False

    def handle_error(self, request, address):
        """A client that has gone is none of our business."""

    def url(self, manners=""):
        port = self.server_address[1]
        return f"http://127.0.0.1:{port}/{manners}" if manners else f"http://127.0.0.1:{port}"


def serving(**options):
    """Serve in a thread of this process."""
    return serving_in_a_thread(Server(**options))


if __name__ == "__main__":
    alone = Server(int(sys.argv[1]))
    alone.tells = True
    print(json.dumps([sys.argv[2:], os.environ.get("OMP_NUM_THREADS")]), flush=True)
    alone.serve_forever()
