"""From files to token ids: bytes of memory a byte of text at the peak, and seconds, by size, script and kind of file.

    python -m benchmarks.reading                       10 and 100 MB: a table, and JSON in results/reading.json
    python -m benchmarks.reading --sizes 10,100,1000   one case of a gigabyte too: forty minutes on two busy cores

Every case runs in a fresh interpreter, on texts that are made for it and removed. The peak is the process's resident
memory above what it has once everything is imported. Tokenising twice shows what a resume takes: the ids come from the
cache, and the texts are read and hashed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.harness import Report, _process_peak

MOST: Final = 8.0  # bytes of memory a byte of text
SCRIPTS: Final = ("ascii", "mixed")
SHAPES: Final = ("one file", "many files", "jsonl")
LARGE: Final = (("ascii", "jsonl"), ("mixed", "one file"))  # cases of 100 MB and more; of a gigabyte the first alone
_FILE: Final = 10_000  # bytes of each of many files
_ROW: Final = 1_000  # bytes of a row of JSONL
_VOCABULARY: Final = 50_000  # words


def texts(script: str, size: int, each: int, *, seed: int = 0) -> Iterator[str]:
    """Texts of about `each` bytes, `size` in all: words by Zipf's law, in sentences and lines.

    Args:
        script: "ascii", or "mixed": Latin with accents, Cyrillic, Han, and an emoji now and then.
    """
    draw = np.random.default_rng(seed)
    words = np.array(list(_words(script, draw)), dtype=object)
    weights = 1 / np.arange(1, len(words) + 1)
    weights /= weights.sum()
    done = 0
    while done < size:
        text: list[str] = []
        length = 0
        while length < min(each, size):
            line = " ".join(draw.choice(words, 4000, p=weights)).replace(" w", ".\n", 300)
            text.append(line)
            length += len(line.encode())
        whole = "\n".join(text).encode()[: min(each, size)].decode(errors="ignore")
        done += len(whole.encode())
        yield whole


def _words(script: str, draw: np.random.Generator) -> Iterator[str]:
    alphabets = {"ascii": [(97, 122)], "mixed": [(97, 122), (0xE0, 0xFF), (0x430, 0x44F), (0x4E00, 0x9FFF)]}[script]
    for number in range(_VOCABULARY):
        if script == "mixed" and number % 1000 == 999:
            yield chr(0x1F600 + number % 50)
            continue
        first, last = alphabets[number % len(alphabets)]
        yield "".join(map(chr, draw.integers(first, last + 1, draw.integers(1, 10))))


def write(folder: Path, script: str, shape: str, size: int) -> Path:
    """The texts as files; what `lmhead train --data` would be given."""
    if shape == "one file":
        with (folder / "text.txt").open("w", encoding="utf-8") as file:
            for text in texts(script, size, 10**6):
                file.write(text + "\n")
        return folder / "text.txt"
    if shape == "jsonl":
        with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
            for text in texts(script, size, _ROW * 100):
                for start in range(0, len(text), _ROW):
                    file.write(json.dumps({"text": text[start : start + _ROW]}, ensure_ascii=False) + "\n")
        return folder / "rows.jsonl"
    data = folder / "files"
    for number, text in enumerate(texts(script, size, _FILE)):
        file_path = data / f"{number // 1000}" / f"{number}.txt"
        file_path.parent.mkdir(parents=True, exist_ok=True)
        file_path.write_text(text, encoding="utf-8")
    return data


def measured(data: Path, cache: Path) -> dict[str, float]:
    """Bytes of text, the peak and the seconds of each part, in this process."""
    from lmhead.batches.text import HeldOutText
    from lmhead.data.rows.progress import unheard
    from lmhead.data.rows.selection import select
    from lmhead.data.rows.source import Source
    from lmhead.data.sets.corpus import Corpus, read_corpus
    from lmhead.data.tokenizer.text_ends import TextEnds
    from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
    from lmhead.data.tokens.token_cache import tokenised
    from lmhead.training.text_setup import trained_tokenizer

    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> object:
        begun = time.perf_counter()
        result = work()
        found[name] = time.perf_counter() - begun
        return result

    def run() -> None:
        corpus = timed("reading", lambda: read_corpus(select(Source.of([str(data)])), held_out_share=0.1))
        assert isinstance(corpus, Corpus)
        found["bytes"] = corpus.train.bytes + corpus.held_out.bytes
        backend: Any = timed("training the tokenizer", lambda: trained_tokenizer(corpus.train, 4096, unheard))

        ends = TextEnds.of(TokenizerFiles(json=backend.to_str()))

        def encode() -> None:
            both = (corpus.train, corpus.held_out)
            streams = [tokenised(backend, documents, ends, cache, print, unheard) for documents in both]
            found["tokens"] = sum(map(len, streams))
            HeldOutText(streams[1], corpus.held_out, length=256)

        timed("tokenising", encode)
        timed("from the cache", encode)

    found["peak"] = _process_peak(run)
    return found


def case(script: str, shape: str, size: int) -> dict[str, float]:
    """What one case takes, in an interpreter of its own."""
    with tempfile.TemporaryDirectory(prefix="lmhead-reading-") as folder:
        data = write(Path(folder), script, shape, size)
        words = [sys.executable, "-m", "benchmarks.reading", "--measure", str(data), str(Path(folder) / "cache")]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(sizes: list[int]) -> Report:
    """The table and the goals."""
    parts = ("reading", "training the tokenizer", "tokenising", "from the cache")
    result = Report(
        name="reading",
        title="reading texts: memory a byte of text, and seconds",
        columns=("", "bytes a byte", *(f"{part}, s" for part in parts), "tokens"),
    )
    for size in sizes:
        for script, shape in product(SCRIPTS, SHAPES) if size < 100 else LARGE[: 2 if size < 1000 else 1]:
            name = f"{size} MB, {script}, {shape}"
            found = case(script, shape, size * 10**6)
            share = found["peak"] / found["bytes"]
            shown = (f"{share:.2f}", *(f"{found[part]:.1f}" for part in parts), f"{found['tokens']:,.0f}")
            result.rows.append((name, *shown))
            result.measured[name] = found
            print(name, *shown, file=sys.stderr, flush=True)
            if size >= 100:
                result.goal(f"bytes of memory a byte of text: {name}", share, at_most=MOST)
    return result


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100", help="in megabytes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="instead of benchmarks/results/reading.json")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measured(*arguments.measure)))
        return
    result = report([int(size) for size in arguments.sizes.split(",")])
    print(result.table(), flush=True)
    print(f"\n{result.save(arguments.json)}")


if __name__ == "__main__":
    main()
