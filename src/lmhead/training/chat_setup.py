"""Conversations -> rows to train on: tokenizer and template, labels, the split, packing; and what is told of each."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from lmhead.batches.chat import ChatRows, HeldOutChat, SeparateChatRows, answers_of, example_of
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import BUILT_IN, Recipe
from lmhead.data.rows.progress import Progress
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import Selection
from lmhead.data.sets.conversations import read_conversations
from lmhead.data.sets.message_texts import some_texts, split_texts
from lmhead.data.tokenizer.chatml import CHATML_TOKENS
from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.data.tokenizer.train_tokenizer import END_OF_TEXT, require_rows, train_tokenizer
from lmhead.data.tokens.lossless import first_text_lost
from lmhead.errors import InputError, require
from lmhead.generation.chat_prompt import ChatPrompt
from lmhead.inspection.doctor.survey_findings import told_of
from lmhead.labels.example import Example
from lmhead.labels.id_count import id_count
from lmhead.options import Message, option
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.prompt import PROMPTS, Prompt
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.tokenized_data import TokenizedData
from lmhead.training.weights.start import Start

SKIPPED_FILE = "skipped.jsonl"
Note = Callable[[str], None]


def chat_data(
    config: TrainConfig,
    selection: Selection,
    format: str,
    run: RunFolder,
    start: Start | None,
    note: Note,
    progress: Progress,
) -> TokenizedData:
    """Labelled and packed conversations.

    Args:
        format: of the first of them, as `labelled_format` tells it.

    Raises:
        InputError: the data, the template or the tokenizer cannot be used, or a conversation cannot be labelled.
    """
    if config.chat.date is None:  # a resumed run tells its template the same day
        config = replace(config, chat=replace(config.chat, date=date.today().isoformat()))
    length = config.model.max_seq_len
    require(length >= 2, option("model.max_seq_len"), "be >= 2 tokens for conversations", length)
    for path, times in Counter(config.data.paths).items():
        if times > 1:
            note(f"data: {path} is given {times} times, and weighs {times} times as much")
    files = _given(config, run, start) or _trained(config, selection, format, note, progress)
    recipe = _recipe(config, files, run, start, note)
    backend = recipe.tokenizer.backend()
    new_ids: tuple[int, ...] = ()
    if start is not None:
        known = start.files.backend().get_vocab()
        new = {token: id for token, id in backend.get_vocab().items() if token not in known}
        new_ids = tuple(sorted(new.values()))
        config = start.with_vocabulary(config, id_count(backend))
        _tell_growth(config, start, sorted(new), note)
    found = read_conversations(
        selection,
        recipe,
        held_out_share=config.data.held_out,
        note=note,
        progress=progress,
        list_refused=lambda text: run.write_text(SKIPPED_FILE, text),
    )
    formats = ", ".join(f"{name}, {count:,} conversations" for name, count in found.formats.most_common())
    note(f"data: {', '.join(config.data.paths)}: {formats}; {len(found.held_out):,} held out")
    for line in (*found.told, *told_of(found.survey, recipe)):
        note(line)
    tokenizer = RunTokenizer.of_files(
        recipe.tokenizer,
        max_seq_len=config.model.max_seq_len,
        terminators=_terminators(recipe.tokenizer, found.train),
    )
    kind = ChatRows if config.pack else SeparateChatRows
    rows = kind(
        found.train,
        length=config.model.max_seq_len,
        seed=config.seed,
        pad_id=tokenizer.eos_ids[-1] if tokenizer.pad_id is None else tokenizer.pad_id,
    )
    lost = first_text_lost(backend, some_texts(selection, format=config.chat.format))
    held_out = HeldOutChat(found.held_out, backend, length=config.model.max_seq_len, lossless=lost is None)
    report = rows.report
    shape = f"rows of {report.length} ({report.useful:.1%} used)" if config.pack else "rows of one conversation each"
    note(
        f"tokens: {report.scored:,} of {report.packed_tokens:,} are trained, in {report.rows:,} {shape}; "
        f"{held_out.scored:,} of {held_out.tokens:,} held out"
    )
    if lost is not None:
        note(
            f"tokenizer: texts do not come back from their tokens, the first that does not: {lost}; "
            "bits per byte are not claimed"
        )
    _tell_notes([*found.train, *found.held_out], note)
    return TokenizedData(
        config=config,
        tokenizer=tokenizer,
        rows=rows,
        held_out=held_out,
        prompts=_prompts(config, recipe, tokenizer, found.held_out),
        new_ids=new_ids,
    )


def _given(config: TrainConfig, run: RunFolder, start: Start | None) -> TokenizerFiles | None:
    """The tokenizer that the run has already, or is given."""
    if run.tokenizer_file.exists():
        return read_tokenizer(str(run.path))
    if start is not None:
        return start.files
    return None if config.data.tokenizer is None else read_tokenizer(config.data.tokenizer)


def _recipe(config: TrainConfig, files: TokenizerFiles, run: RunFolder, start: Start | None, note: Note) -> Recipe:
    """The tokenizer with its template, and the options of labelling."""
    chat = config.chat
    if run.tokenizer_file.exists():
        chat = replace(chat, template=None)  # the run has its own, whatever became of the file
    length = config.model.max_seq_len
    recipe = Recipe.of(files, chat, max_length=length)
    if recipe.built_in:
        named = _chatml_names(recipe.tokenizer)
        recipe = Recipe.of(replace(files, special_tokens=named), chat, max_length=length)
        note("template: ChatML, the built-in one")
    else:
        own = "the run's own" if run.tokenizer_file.exists() else f"{files.source}'s own"
        note(f"template: {chat.template or own}")
    if start is None and not run.tokenizer_file.exists():
        require_rows(config.model.vocab_size, recipe.tokenizer.backend(), note)
    return recipe


def _trained(config: TrainConfig, selection: Selection, format: str, note: Note, progress: Progress) -> TokenizerFiles:
    """A byte-level BPE of the conversations that are not held out."""
    if config.chat.template not in (None, BUILT_IN):
        template = option("chat.template")
        raise InputError(
            f"{template} must come with a tokenizer that has its control tokens, got {config.chat.template} without one"
            f": give {option('data.tokenizer')} or {option('init')}, or leave {template} out for ChatML"
        )
    if format == "tokens":
        raise InputError(
            f"{', '.join(config.data.paths)} must come with the tokenizer that made its ids, got none: "
            f"give {option('data.tokenizer')} or {option('init')}"
        )
    note(f"training a byte-level BPE of {config.model.vocab_size:,} tokens")
    broken: dict[Place, Message] = {}
    texts = split_texts(
        selection, broken, format=config.chat.format, held_out_share=config.data.held_out, progress=progress
    )
    try:
        backend = train_tokenizer(texts, config.model.vocab_size, control_tokens=CHATML_TOKENS)
    except InputError as error:
        if not broken:
            raise
        rows = "1 row" if len(broken) == 1 else f"{len(broken):,} rows"
        first = next(iter(broken.values()))
        raise InputError(
            f"{rows} cannot be read, the first: {first.marked}; without what cannot be read, {error.message.marked}"
        ) from None
    return TokenizerFiles(json=backend.to_str(), special_tokens={"bos_token": END_OF_TEXT}, source="the data")


def _chatml_names(files: TokenizerFiles) -> dict[str, str]:
    """Special tokens by name: the turn's end is the end of generation, and what ended texts before pads."""
    end = files.end_of_text() or CHATML_TOKENS[1]
    return {"pad_token": end, **files.special_tokens, "eos_token": CHATML_TOKENS[1]}


def _tell_growth(config: TrainConfig, start: Start, new: list[str], note: Note) -> None:
    before, after = start.vocab_size, config.model.vocab_size
    grows = f"embedding and head grow from {before:,} to {after:,} rows"
    if new:
        rows = grows if after > before else "rows that were unused"
        note(f"tokenizer: gains {', '.join(new)}; {rows}, new ones the mean of the others")
    elif after > before:
        note(f"tokenizer: more ids than the model has rows; {grows}, new ones the mean of the others")


def _terminators(files: TokenizerFiles, labelled: Sequence[Labelled]) -> tuple[int, ...]:
    """The control tokens that answers end with, the most frequent first."""
    added = files.backend().get_added_tokens_decoder()
    control = {number for number, token in added.items() if token.special}
    last = Counter(run[-1] for row in labelled for run in answers_of(example_of(row)))
    return tuple(number for number, _ in last.most_common() if number in control)


def _tell_notes(labelled: Sequence[Labelled], note: Note) -> None:
    counts = Counter(each.kind for row in labelled for each in example_of(row).notes)
    if counts:
        note("notes: " + ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common()))


def _prompts(
    config: TrainConfig, recipe: Recipe, tokenizer: RunTokenizer, held_out: Sequence[Labelled]
) -> tuple[Prompt, ...]:
    """The question that the config asks, and held-out conversations up to their first answers, the first one first."""
    asked: list[list[int]] = []
    if config.prompt is not None:
        prompt = ChatPrompt.of(recipe.tokenizer, now=recipe.now, template_arguments=recipe.template_arguments)
        asked.append(prompt.ids([{"role": "user", "content": config.prompt}]))
    spread = [len(held_out) * number // PROMPTS for number in range(PROMPTS)]
    examples = [example_of(held_out[place]) for place in spread]
    asked += [_question(example) for example in examples if example.trained[1:].any()]
    different = list(dict.fromkeys(map(tuple, asked)))[:PROMPTS]
    return tuple(Prompt(ids=list(ids), hidden=0, stop_ids=tokenizer.eos_ids, control_tokens=True) for ids in different)


def _question(example: Example) -> list[int]:
    """A conversation up to its first answer."""
    return [int(each) for each in example.ids[: int(np.flatnonzero(example.trained[1:])[0]) + 1]]
