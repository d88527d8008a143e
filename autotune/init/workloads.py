"""Workloads by name: token lengths and latencies of published traces and benchmarks.

Every figure was read in its source; those of the traces were computed from their files. Their lengths have a
long tail, with standard deviations as large as the means, which no normal distribution has: spreads are half
the mean there.

.. [Azure] Azure LLM inference trace 2023, samples of about an hour on 16 November 2023, published with Patel
   et al., Splitwise, ISCA 2024. Conversation, 19,366 requests: 1,155 tokens in (median 1,020, standard
   deviation 1,109) and 211 out (129; 163). Code, 8,819 requests: 2,048 in (1,469; 1,974) and 28 out (13; 60).
   https://github.com/Azure/AzurePublicDataset/blob/master/AzureLLMInferenceDataset2023.md
.. [LlamaIndex] ``DEFAULT_CHUNK_SIZE = 1024``, ``DEFAULT_SIMILARITY_TOP_K = 2`` of its ``core/constants.py``.
   https://github.com/run-llama/llama_index
.. [CNN] CNN / Daily Mail as Nallapati et al. (2016) prepared it: articles of 781 tokens on average, summaries
   of 56. https://github.com/sebastianruder/NLP-progress/blob/master/english/summarization.md
.. [MLPerf] MLPerf Inference, ``loadgen/mlperf.conf``, 99th percentiles for Llama 2 70B: the server scenario
   allows 2,000 ms to the first token and 200 ms for each further one, the interactive one 450 ms and 40 ms.
   https://github.com/mlcommons/inference/blob/master/loadgen/mlperf.conf
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


_AZURE = "means of Azure's trace of 2023"
LOADS = {
    load.name: load
    for load in (
        Load(
            "chat",
            (1155, 577),
            (211, 105),
            f"{_AZURE}, conversation: 1,155 tokens in, 211 out",
            2.0,
            "MLPerf's server scenario for Llama 2 70B",
        ),
        Load(
            "rag",
            (2048, 256),
            (211, 105),
            "2 chunks of 1,024 tokens as LlamaIndex retrieves them, answers as in chat",
            2.0,
            "MLPerf's server scenario for Llama 2 70B",
            shared=256,
            concurrency=32,
        ),
        Load(
            "code",
            (2048, 1024),
            (28, 14),
            f"{_AZURE}, code completion: 2,048 tokens in, 28 out",
            0.45,
            "MLPerf's interactive scenario for Llama 2 70B",
        ),
        Load(
            "batch",
            (781, 240),
            (56, 16),
            "summaries of news, CNN / Daily Mail: 781 tokens in, 56 out on average",
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
