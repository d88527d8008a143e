"""Compress a text with the settings given and print the speed and the size as JSON."""

from __future__ import annotations

import argparse
import json
import os
import time
import zlib
from pydoc_data.topics import topics

TEXT = "".join(topics[name] for name in sorted(topics)).encode()
STRATEGIES = {"default": zlib.Z_DEFAULT_STRATEGY, "filtered": zlib.Z_FILTERED, "huffman": zlib.Z_HUFFMAN_ONLY}


def measure(config: dict) -> dict:
    """Return metrics of a configuration: samples of the speed in bytes per second, and the size."""
    speeds = []
    for _ in range(5):
        began = time.perf_counter()
        packer = zlib.compressobj(
            config["level"], zlib.DEFLATED, config["window_bits"], 8, STRATEGIES[config["strategy"]]
        )
        size = len(packer.compress(TEXT) + packer.flush())
        speeds.append(len(TEXT) / (time.perf_counter() - began))
    return {"speed": speeds, "ratio": {"value": size / len(TEXT), "sem": 0.0}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--level", type=int, required=True)
    parser.add_argument("--window-bits", type=int, required=True)
    asked = vars(parser.parse_args())
    print("whatever it prints before does not matter")
    print(json.dumps(measure({**asked, "strategy": os.environ["STRATEGY"]})))
