"""The least of an OpenAI-compatible server: answers at once, with as many tokens as were asked for."""

import http.server
import json
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer one connection; a subclass looks at what comes."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def listed(self):
        """Return what a GET is answered with."""
        return {"data": [{"id": "toy"}]}

    def look(self, asked):
        """Take note of a request before it is answered."""

    def do_GET(self):
        self.answer("application/json", json.dumps(self.listed()))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.look(asked)
        count = int(asked.get("max_tokens", 1))
        usage = {"prompt_tokens": 4, "completion_tokens": count, "total_tokens": 4 + count}
        if not asked.get("stream"):
            choice = {"index": 0, "text": str(asked.get("prompt")), "finish_reason": "length"}
            self.answer("application/json", json.dumps({"choices": [choice], "usage": usage}))
            return
        piece = {"choices": [{"index": 0, "text": " a", "finish_reason": None}]}
        last = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}], "usage": usage}
        events = [*(json.dumps(part) for part in [piece] * count + [last]), "[DONE]"]
        self.answer("text/event-stream", "".join(f"data: {event}\n\n" for event in events))

    def answer(self, kind, text):
        """Send a whole answer."""
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(handler):
    """Serve on the port that the first argument names."""
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler).serve_forever()
