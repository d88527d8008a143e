"""A real server process for tests: batches over a Unix socket, delays and misbehaviour on request."""

import json
import os
import signal
import socket
import sys
import time

CONFIG = json.loads(sys.argv[1])
MODE = CONFIG.get("mode", "ok")
STEP_S = float(sys.argv[2])


def answer(order):
    records = []
    sent = time.monotonic_ns()
    requests = order["requests"]
    step = STEP_S * (1 + 0.1 * len(requests)) / CONFIG.get("speed", 1)
    longest = max(r["max_tokens"] for r in requests)
    times = []
    for _ in range(longest):
        time.sleep(step)
        times.append(time.monotonic_ns())
    for r in requests:
        mine = times[: r["max_tokens"] - (1 if MODE == "short" else 0)]
        records.append(
            {"id": r["id"], "prompt_tokens": r["prompt_tokens"] or 1, "send_ns": sent,
             "arrivals": [[t, 1] for t in mine], "end_ns": mine[-1], "error": None}
        )  # fmt: skip
    return {"records": records}


def main():
    if MODE == "oom":
        sys.exit("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
    if MODE == "bad_flag":
        sys.exit("ValueError: unsupported combination of flags")
    if MODE == "never_ready":
        time.sleep(600)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("server.tmp")
    listener.listen(1)
    os.rename("server.tmp", "server.sock")
    client, _ = listener.accept()
    batches = 0
    for line in client.makefile("rb"):
        order = json.loads(line)
        reply = {}
        if order["op"] == "generate":
            batches += 1
            if MODE == "dies" and batches > 3:
                os._exit(3)
            if MODE == "killed" and batches > 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if MODE == "hangs" and batches > 3:
                time.sleep(600)
            reply = answer(order)
        elif order["op"] == "metrics":
            reply = {"metrics": {"memory.peak": {"value": 1e6, "sem": None, "n": 1, "unit": "B"}}}
        elif order["op"] == "facts":
            reply = {
                "facts": {"pid": os.getpid(), "secret": os.environ.get("AWS_SECRET_ACCESS_KEY", "absent")}
            }
        client.sendall(json.dumps(reply).encode() + b"\n")
        if order["op"] == "stop" and MODE != "stubborn":
            return


main()
