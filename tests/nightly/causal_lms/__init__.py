"""Every type of causal LM that transformers knows, made tiny and patched: parity, or a refusal by name.

    python -m tests.nightly.causal_lms                        two minutes; 1 where a type is wrong or a bar is missed
    python -m tests.nightly.causal_lms llama gemma2           some types
    python -m tests.nightly.causal_lms --table FILE           and docs/models/transformers_table.md from it
    python -m tests.nightly.causal_lms --transformers 4.56.2 --scratch DIR    with another transformers, installed there

A model is built by tests/models/transformers/causal_lms, and judged by its own forward without the patch.
"""
