"""Batch generation with a chosen configuration: prompts on standard input, answers on standard output.

``python -m autotune.systems.transformers.generate --model M --batch-size 8 < prompts.txt > answers.jsonl``
reads one prompt per line and writes one JSON object per line, ``{"prompt": ..., "answer": ...}``, in order.
``AUTOTUNE_MAX_TOKENS`` sets the length of the answers (default 64).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from autotune.core.request import Request
from autotune.systems.transformers.options import Options

_PROGRAM = "autotune.systems.transformers.generate"


def batches(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Give the non-empty lines in lists of up to ``size``."""
    prompts = (line.rstrip("\n") for line in lines if line.strip())
    while batch := list(islice(prompts, size)):
        yield batch


def main() -> None:
    """Answer every prompt of standard input."""
    options = Options.from_argv(sys.argv[1:], _PROGRAM)
    from autotune.systems.transformers.operations import Operations
    from autotune.systems.transformers.server import limit_memory, start_ranks

    limit_memory(options)
    rank = int(os.environ.get("RANK", "0"))
    if options.tensor_parallel > 1 and not rank:
        start_ranks(options, _PROGRAM)
    operations = Operations(options)
    if rank:
        while operations.follow():
            continue
        return
    length = int(os.environ.get("AUTOTUNE_MAX_TOKENS", "64"))
    for batch in batches(sys.stdin, options.batch_size):
        requests = [Request(i, prompt, length).to_dict() for i, prompt in enumerate(batch)]
        answers = operations.lead({"op": "generate", "requests": requests})["tokens"]
        for prompt, tokens in zip(batch, answers, strict=True):
            text = operations.loaded.tokenizer.decode(tokens, skip_special_tokens=True)
            sys.stdout.write(json.dumps({"prompt": prompt, "answer": text}) + "\n")
        sys.stdout.flush()
    operations.lead({"op": "stop"})


if __name__ == "__main__":
    main()
