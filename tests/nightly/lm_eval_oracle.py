"""lm-evaluation-harness itself against `lmhead.evaluate`: exits with 1 where a figure differs, with 77 without it.

    pip install --no-deps --target /tmp/harness lm_eval==0.4.13 sacrebleu portalocker tabulate lxml colorama
    PYTHONPATH=/tmp/harness python -m tests.nightly.lm_eval_oracle

Run are its get_rolling_token_windows, HFLM.loglikelihood_rolling, and wikitext's detokenizer and process_results, on
the model and the pages of tests/evaluation/oracle, whose test has the harness's figures from here. It is no extra of
the suite's: with what it depends on it is 38 packages more, scipy and scikit-learn among them, of 300 MB.
"""

import importlib.util
import json
import math
import random
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.evaluation.oracle.wikitext import DETOKENIZED, PAGES, WINDOW, model, tokenizer

import lmhead
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.scores.windows import Windows

CASES: dict[str, tuple[dict[str, bool], dict[str, Any], str]] = {  # tokenizer, of the harness, our prefix
    "bos": ({}, {}, "auto"),
    "eos": ({}, {"prefix_token_id": 0}, "eos"),
    "no bos": ({"bos": False}, {}, "auto"),
    "adds bos": ({"adds_bos": True}, {"add_bos_token": False}, "auto"),
    "adds bos, twice": ({"adds_bos": True}, {}, "auto"),  # <s> is read twice, and the second one is scored
}


def harness_figures(name: str, *, batch_size: int) -> dict[str, float]:
    """What the harness says of the pages, with the sum of the log-likelihoods beside it."""
    from lm_eval.api.instance import Instance
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks.wikitext.preprocess_wikitext import process_results, wikitext_detokenizer

    assert tuple(wikitext_detokenizer({"page": page}) for page in PAGES) == DETOKENIZED
    of_tokenizer, of_harness, _ = CASES[name]
    lm = HFLM(pretrained=model(), tokenizer=tokenizer(**of_tokenizer), batch_size=batch_size, **of_harness)
    assert lm.max_length == WINDOW
    requests = [
        Instance(request_type="loglikelihood_rolling", doc={"page": page}, arguments=(text,), idx=number)
        for number, (page, text) in enumerate(zip(PAGES, DETOKENIZED, strict=True))
    ]
    found = lm.loglikelihood_rolling(requests, disable_tqdm=True)
    results = [process_results({"page": page}, [each]) for page, each in zip(PAGES, found, strict=True)]
    return {
        "loglikelihood": math.fsum(found),
        "word_perplexity": weighted_perplexity([each["word_perplexity"] for each in results]),
        "byte_perplexity": weighted_perplexity([each["byte_perplexity"] for each in results]),
        "bits_per_byte": bits_per_byte([each["bits_per_byte"] for each in results]),
    }


def our_figures(name: str, folder: Path, texts: Sequence[str] = DETOKENIZED) -> dict[str, float]:
    """The same of `lmhead.evaluate`: the harness counts words and bytes of the pages, not of what is scored."""
    of_tokenizer, _, prefix = CASES[name]
    data = folder / "pages.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = lmhead.evaluate(
        model(),
        data,
        tokenizer=tokenizer(**of_tokenizer),
        stride=WINDOW,
        how=DocumentOptions(prefix=prefix),  # type: ignore[arg-type]
    ).card.figures
    words = sum(len(re.split(r"\s+", page)) for page in PAGES)
    num_bytes = sum(len(page.encode()) for page in PAGES)
    return {
        "loglikelihood": -found.nll_sum,
        "word_perplexity": math.exp(found.nll_sum / words),
        "byte_perplexity": math.exp(found.nll_sum / num_bytes),
        "bits_per_byte": found.nll_sum / math.log(2) / num_bytes,
    }


def windows_differ(seed: int) -> str | None:
    """The harness's windows of a random text against ours; a line where they differ."""
    from lm_eval.utils import get_rolling_token_windows

    draw = random.Random(seed)
    window, count = draw.randint(1, 12), draw.randint(1, 60)
    context = draw.randint(1, window)
    ids = list(range(1, count + 1))
    given = [0, *ids]  # behind the prefix
    ours = [
        (given[each.start : each.stop], given[each.keep + 1 : each.stop + 1])
        for each in Windows(window=window, stride=window - context + 1).over(count)
    ]
    theirs = list(get_rolling_token_windows(ids, 0, window, context))
    return None if ours == theirs else f"window {window}, context {context}, {count} tokens: {theirs} and here {ours}"


def main() -> int:
    """Compare, print, and say whether all was equal."""
    if importlib.util.find_spec("lm_eval") is None:
        print("skipped: lm_eval is not on the path; this file says how to put it there")
        return 77
    import lm_eval

    print(f"lm_eval {lm_eval.__version__}")
    wrong = [line for seed in range(2000) if (line := windows_differ(seed))]
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            theirs, ours = harness_figures(name, batch_size=2), our_figures(name, Path(folder))
            most = max(abs(ours[key] / theirs[key] - 1) for key in theirs)
            print(f"{name}: harness {theirs}, here {ours}: at most {most:.1e} apart")
            if (most > 1e-6) != (name == "adds bos, twice"):
                wrong.append(f"{name}: {most:.1e}")
    for line in wrong:
        print(f"differs: {line}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
