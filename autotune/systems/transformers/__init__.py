"""Hugging Face transformers as a system: one static batch, drafting, quantization, tensor parallelism."""
