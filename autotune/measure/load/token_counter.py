"""Tokens of answers whose stream has no usage, counted from their text.

By the server's own tokenizer, or by that of the model where the study names its files. A model may write a
text with other tokens than its tokenizer would: rarely, as it learned from what the tokenizer made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from autotune.core.endpoint import Endpoint, Refused, whole_characters
from autotune.core.request import BY_TOKENIZER, RequestRecord
from autotune.errors import EnvironmentProblem
from autotune.measure.load.answer import shared_over
from autotune.measure.load.ask import EndpointConnection
from autotune.measure.load.calibrate import Calibration, count_tokens

_ANSWER_S = 10.0
_SHARE = 0.2  # of the time, at most, beyond the first seconds
_FREE_S = 1.0

Count = Callable[[str], int]
"""Returns the tokens of a text."""


class TokenCounter:
    """A counter of the tokens of texts.

    Counting takes at most a fifth of the time. Where answers come faster than that, the others have as many
    tokens per character as those that were counted.

    Args:
        endpoint: Endpoint of the server; its ``tokenizer`` names the model's own files.
        calibration: Calibration, which names the server's tokenizer, where it has one.
    """

    def __init__(self, endpoint: Endpoint, calibration: Calibration) -> None:
        self._began, self._spent = time.monotonic(), 0.0
        self._tokens = self._characters = 0
        self._count: Count
        self._connection: EndpointConnection | None = None
        if calibration.tokenize:
            self._connection = connection = EndpointConnection(endpoint, _ANSWER_S)
            self._count = lambda text: count_tokens(endpoint, connection, text, calibration.tokenize)
        else:
            self._count = model_tokenizer(endpoint.tokenizer)

    def close(self) -> None:
        """Let go of the connection to the server."""
        if self._connection is not None:
            self._connection.close()

    def counted(self, record: RequestRecord, texts: Sequence[str]) -> RequestRecord:
        """Return a record with the tokens of its whole text, shared among the chunks by their characters.

        Args:
            record: Record with one arrival per chunk.
            texts: Texts of the chunks.
        """
        text = whole_characters("".join(texts))
        now = time.monotonic()
        if self._spent > _FREE_S + _SHARE * (now - self._began):
            if not self._characters:  # the tokenizer does not answer
                return record
            tokens = max(1, round(len(text) * self._tokens / self._characters))
        else:
            try:
                tokens = self._count(text)
            except Refused:
                return record
            finally:
                self._spent += time.monotonic() - now
            self._tokens, self._characters = self._tokens + tokens, self._characters + len(text)
        times = [time_ns for time_ns, _ in record.arrivals]
        arrivals = shared_over(times, [len(text) for text in texts], tokens)
        return replace(record, arrivals=arrivals, counted_by=BY_TOKENIZER) if arrivals else record


def model_tokenizer(path: str) -> Count:
    """Return the count of a model's own tokenizer.

    Args:
        path: A ``tokenizer.json``, or the folder that holds one.

    Raises:
        EnvironmentProblem: The file or the package ``tokenizers`` is missing.
    """
    file = Path(path).expanduser()
    file = file / "tokenizer.json" if file.is_dir() else file
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
    except ImportError:
        raise EnvironmentProblem(
            "the model's own tokenizer needs the package tokenizers", hint="pip install tokenizers"
        ) from None
    except Exception as error:  # noqa: BLE001 - the package raises plain Exception for a wrong file
        raise EnvironmentProblem(f"cannot read the tokenizer {str(file)!r}: {error}") from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
