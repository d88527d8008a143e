"""A Ray cluster of several nodes on this machine, each in a network namespace of its own where that works.

A node can be killed, paused, cut off and joined while a study runs.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

from tests_shared import descendants, is_alive, name_of, wait_until

# A node that is gone is noticed in 5 s instead of 30 s; a busy machine must not lose one by chance.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 3,
}
START_S = 120

PROMPT = {"RAY_worker_niceness": "0"}
"""Environment of a cluster whose workers start soon: a busy machine starves those of Ray, at nice 15."""

_numbers = itertools.count(1)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def namespaces_work():
    """Return whether this machine lets us make network namespaces and bridges."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"atprobe{os.getpid() % 10000}"
    try:
        ip("netns", "add", name)
        ip("link", "add", name, "type", "bridge")
    except subprocess.CalledProcessError:
        return False
    finally:
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return True


class Node:
    """One raylet with its agents and workers."""

    def __init__(self, name, process, link=""):
        self.name, self.process, self.link = name, process, link

    @property
    def pids(self):
        return [self.process.pid, *descendants(self.process.pid)]

    def kill(self):
        """Kill the raylet, as a crash of the node would seem to the others."""
        raylets = [pid for pid in self.pids if name_of(pid).split(" ")[0].endswith("/raylet")]
        assert raylets
        for pid in raylets:
            os.kill(pid, signal.SIGKILL)

    def send(self, number):
        """Send a signal to every process of the node: SIGSTOP pauses it, SIGCONT lets it go on."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def cut_off(self):
        """Take the node's network away."""
        ip("link", "set", self.link, "down")

    def end(self):
        pids = self.pids
        self.send(signal.SIGCONT)
        self.send(signal.SIGKILL)
        self.process.wait(30)
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 90)


class Nodes:
    """A head without resources for attempts, and the nodes that joined it."""

    def __init__(self, folder, *, namespaces=True, auth=None):
        self.folder = folder
        self.auth = auth or {"RAY_AUTH_MODE": "disabled"}
        self.namespaces = namespaces and namespaces_work()
        self.number = os.getpid() % 200 + 20  # of the bridge's network, apart from other test runs'
        self.bridge = f"atbr{self.number}"
        self.address = f"10.89.{self.number}.1" if self.namespaces else "127.0.0.1"
        self.all, self.made = [], []
        if self.namespaces:
            subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)
            ip("link", "add", self.bridge, "type", "bridge")
            ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
        with socket.socket() as probe:
            probe.bind((self.address, 0))
            self.port = probe.getsockname()[1]
        self.head = self._start(
            "head", ["--head", f"--port={self.port}", f"--node-ip-address={self.address}", "--num-cpus=0",
                     f"--system-config={json.dumps(HEALTH)}", "--include-dashboard=false"],
        )  # fmt: skip
        wait_until(self._answers, START_S)

    @property
    def env(self):
        return {"RAY_ADDRESS": f"{self.address}:{self.port}", **self.auth}

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0

    def _start(self, name, options, prefix=(), link=""):
        argv = [*prefix, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        argv += ["--disable-usage-stats", f"--node-name={name}"]
        environment = {**os.environ, **self.auth, **PROMPT, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                argv, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        node = Node(name, process, link)
        self.all.append(node)
        return node

    def join(self, *, cpus=1, gpus=0, labels=None, full_disk=None, object_store_memory=None):
        """Start another node and return when it is up.

        Two that start at once on one machine get in each other's way. ``full_disk`` is a folder on which this
        node alone has no space left.
        """
        number = next(_numbers)
        options = [f"--address={self.address}:{self.port}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        options += [f"--labels={','.join(f'{k}={v}' for k, v in labels.items())}"] if labels else []
        options += [f"--object-store-memory={object_store_memory}"] if object_store_memory else []
        prefix, link = (), ""
        if self.namespaces:
            space = f"at{self.number}-{number}"
            link, inner = f"atv{self.number}x{number}", f"atw{self.number}x{number}"
            ip("netns", "add", space)
            self.made.append(space)
            ip("link", "add", link, "type", "veth", "peer", "name", inner)
            ip("link", "set", inner, "netns", space)
            ip("link", "set", link, "master", self.bridge, "up")
            own = f"10.89.{self.number}.{number + 1}"
            ip("-n", space, "addr", "add", f"{own}/24", "dev", inner)
            ip("-n", space, "link", "set", inner, "up")
            ip("-n", space, "link", "set", "lo", "up")
            options.append(f"--node-ip-address={own}")
            prefix = ("ip", "netns", "exec", space)  # which brings a mount namespace along
        if full_disk is not None:
            full = 'mount -t tmpfs -o size=4k,nr_inodes=2 none "$0" && exec "$@"'
            prefix = (*prefix, "sh", "-c", full, str(full_disk))
        node = self._start(f"n{number}", options, prefix, link)
        log = self.folder / f"n{number}.log"
        wait_until(
            lambda: "Ray runtime started" in log.read_text() or node.process.poll() is not None, START_S
        )
        assert node.process.poll() is None, log.read_text()[-2000:]
        return node

    def close(self):
        for node in reversed(self.all):
            node.end()
        for space in self.made:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
        if self.namespaces:
            subprocess.run(["ip", "link", "del", self.bridge], check=False, capture_output=True)
