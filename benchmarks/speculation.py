"""Speculative greedy decoding beside plain greedy decoding, on trained runs.

    lmhead train --mtp 1 --out runs/mtp1                       a run, a few minutes
    python -m benchmarks.speculation runs/mtp1 [...]           a table, and JSON in benchmarks/results/speculation.json

Each round decodes the same prompts plainly and with each number of drafts; a figure is the median over rounds of the
ratio within a round. "A forward" is the time of one read by the model with all that drafting adds, in plain reads.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.harness import Case, Report, interleave
from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.sampling import sample
from lmhead.generation.speculative import require_drafts, speculate
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.training.weights.trained_model import checkpoint_of, read_trained_model

GOAL = 1.4
_PROMPTS = (
    "def read(self, path):\n",
    'class Parser:\n    """',
    "import os\nimport sys\n\n\ndef main():\n",
    "    for name in sorted(",
    "def test_add(self):\n        self.assertEqual(",
    "        raise ValueError(",
    "    if not isinstance(",
    "    try:\n        ",
)
_DEEPEST = 4  # drafts of one module


def counted(model: MultiTokenModel, prompts: Sequence[list[int]], tokens: int, drafts: int) -> DraftCounts:
    """What was drafted and taken over all prompts, each decoded alone, as `lmhead sample` does.

    Raises:
        AssertionError: the tokens are not those of plain greedy decoding.
    """
    total = DraftCounts.of_depths(drafts)
    for prompt in prompts:
        made = speculate(model, [prompt], max_new_tokens=tokens, draft_tokens=drafts, temperature=0)
        assert made.tokens == [list(sample(model, prompt, max_new_tokens=tokens, temperature=0))]
        total.merge(made.counts)
    return total


def measure(run: Path, report: Report, *, rounds: int, tokens: int) -> float:
    """Rows of the table; the best ratio to plain decoding's tokens per second."""
    checkpoint = checkpoint_of(run)
    model = require_drafts("the run", read_trained_model(checkpoint, "cpu"))
    tokenizer = read_tokenizer(str(checkpoint)).backend()
    prompts = [tokenizer.encode(prompt).ids for prompt in _PROMPTS]
    deepest = model.most_drafts or _DEEPEST

    def drafting(drafts: int) -> Callable[[], object]:
        return lambda: [
            speculate(model, [prompt], max_new_tokens=tokens, draft_tokens=drafts, temperature=0) for prompt in prompts
        ]

    def plain() -> object:
        return [list(sample(model, prompt, max_new_tokens=tokens, temperature=0)) for prompt in prompts]

    cases = [Case(name="plain", run=plain)]
    cases += [Case(name=str(drafts), run=drafting(drafts)) for drafts in range(1, deepest + 1)]
    timings = interleave(cases, rounds=rounds, label=f"{run}: ")
    best = 0.0
    for drafts in range(1, deepest + 1):
        counts, times = counted(model, prompts, tokens, drafts), timings.ratio("plain", str(drafts))
        taken = " ".join(f"{share:.2f}" for share in counts.acceptance)
        forward = counts.tokens_per_forward / times
        row = (f"{model.kind}, {model.depth} trained", str(drafts), taken, f"{counts.tokens_per_forward:.2f}")
        report.rows.append((*row, f"{forward:.2f}", f"{times:.2f}"))
        best = max(best, times)
    seconds = timings.median("plain") / (len(prompts) * tokens)
    report.notes.append(f"{model.kind}: plain decoding took {seconds * 1e3:.2f} ms a token. {timings.note()}")
    report.measured[str(run)] = {"seconds": timings.seconds, "disturbed": timings.disturbed}
    return best


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=150)
    arguments = parser.parse_args()
    report = Report(
        name="speculation",
        title="speculative greedy decoding, against plain greedy decoding",
        columns=(
            "modules",
            "drafts",
            "taken, by depth",
            "tokens a forward",
            "a forward, in plain ones",
            "times as fast",
        ),
    )
    with torch.inference_mode():
        best = [measure(run, report, rounds=arguments.rounds, tokens=arguments.tokens) for run in arguments.runs]
    report.goal("tokens per second, times plain greedy decoding's", max(best), at_least=GOAL)
    print(report.table())
    report.save()


if __name__ == "__main__":
    main()
