"""Workloads by name: token lengths and latencies of published traces and benchmarks.

.. [Azure] Patel et al., Splitwise: Efficient generative LLM inference using phase splitting, ISCA 2024:
   medians of a day of production, chat 1,020 tokens in and 129 out, code completion 1,500 in and 13 out.
   https://github.com/Azure/AzurePublicDataset
.. [LlamaIndex] Defaults of its retrieval: the 2 nearest chunks of 1,024 tokens are put before the question.
   https://docs.llamaindex.ai
.. [CNN] See et al., Get to the point: summarization with pointer-generator networks, ACL 2017: articles of
   781 tokens on average, summaries of 56.
.. [MLPerf] MLPerf Inference, Llama 2 70B: the server scenario allows 2 s to the first token and 200 ms for
   each further one, the interactive scenario 450 ms and 40 ms (99th percentile).
   https://docs.mlcommons.org/inference
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from autotune.core.kinds import Choice

REACH = 4.0  # lengths end this many spreads above the mean; see autotune.measure.workload.lengths


@dataclass(frozen=True)
class Load:
    """Lengths and latencies that are usual for a use.

    Args:
        name: Name of the use.
        prompt: Mean and spread of the prompts' lengths, tokens.
        output: Mean and spread of the answers' lengths, tokens.
        source: Source of the lengths.
        ttft: Limit on the 95th percentile of the time to the first token, seconds; 0 without one.
        ttft_source: Source of that limit.
        shared: Tokens that all prompts begin with; 0 for none.
        concurrency: Requests under way at once for each GPU, an assumption; an eighth of it on processors.
    """

    name: str
    prompt: tuple[int, int]
    output: tuple[int, int]
    source: str
    ttft: float = 0.0
    ttft_source: str = ""
    shared: int = 0
    concurrency: int = 64

    @property
    def longest(self) -> int:
        """Tokens of the longest request, prompt and answer."""
        return self.longest_prompt + self.longest_output

    @property
    def longest_prompt(self) -> int:
        """Tokens of the longest prompt, with what it shares with others."""
        return int(self.shared + self.prompt[0] + REACH * self.prompt[1])

    @property
    def longest_output(self) -> int:
        """Tokens of the longest answer."""
        return int(self.output[0] + REACH * self.output[1])

    @property
    def mean(self) -> int:
        """Tokens of a request on average, prompt and answer."""
        return self.shared + self.prompt[0] + self.output[0]

    def fitted(self, context: int) -> Load:
        """Return the load with all lengths scaled so that the longest request fits a model's context."""
        if not context or self.longest <= context:
            return self
        share = 0.95 * context / self.longest

        def scaled(*lengths: int) -> Any:
            return tuple(max(1, int(length * share)) for length in lengths)

        return replace(
            self,
            prompt=scaled(*self.prompt),
            output=scaled(*self.output),
            shared=scaled(self.shared)[0] if self.shared else 0,
            source=f"{self.source}; scaled to the model's context of {context:,} tokens",
        )


_AZURE = "Azure's production traces"
LOADS = {
    load.name: load
    for load in (
        Load(
            "chat",
            (1020, 320),
            (129, 48),
            f"medians of {_AZURE}: 1,020 tokens in, 129 out (Splitwise, ISCA 2024)",
            2.0,
            "MLPerf's server scenario for Llama 2 70B",
        ),
        Load(
            "rag",
            (2048, 256),
            (129, 48),
            "2 chunks of 1,024 tokens as LlamaIndex retrieves them, answers as in chat",
            2.0,
            "MLPerf's server scenario for Llama 2 70B",
            shared=256,
            concurrency=32,
        ),
        Load(
            "code",
            (1500, 400),
            (13, 5),
            f"medians of {_AZURE}: 1,500 tokens in, 13 out (Splitwise, ISCA 2024)",
            0.45,
            "MLPerf's interactive scenario for Llama 2 70B",
        ),
        Load(
            "batch",
            (781, 240),
            (56, 16),
            "summaries of news, CNN/DailyMail: 781 tokens in, 56 out (ACL 2017)",
            concurrency=256,
        ),
    )
}
"""Loads by name."""


def load_named(name: str) -> Load:
    """Return a load.

    Raises:
        SpecError: There is none of that name.
    """
    return LOADS[Choice(tuple(LOADS)).read(name, "workload")]
