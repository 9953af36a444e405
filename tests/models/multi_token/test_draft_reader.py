"""Rows read in pieces, at any place and over again, have the states that they have when they are read at once."""

import pytest
import torch

from lmhead.models.cached_draft_reader import CachedDraftReader
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.draft_reader import AnewDraftReader, Span
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

IDS = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8], [1, 6, 1, 8, 0, 3, 3, 9]]


@pytest.fixture(params=["course", "modern", "grouped"])
def model(request):
    torch.manual_seed(0)
    options = {"num_kv_heads": 2, "qk_norm": True} if request.param == "grouped" else {}
    style = "course" if request.param == "course" else "modern"
    gpt = GPT(11, 32, 4, 2, max_seq_len=8, style=style, init="torch", embedding_std=1.0, **options)
    return MultiTokenModel.behind(gpt, depth=2).double().eval()


@pytest.fixture(params=["cached", "anew"])
def reader(request, model):
    if request.param == "cached":
        return CachedDraftReader(model.main.model, rows=3, room=8, depth=2)
    return AnewDraftReader(model.main.trunk, rows=3)


SPANS = [
    Span((0, 1, 2), (0, 0, 0), (3, 1, 5)),  # a batch of prompts
    Span((0, 1, 2), (3, 1, 4), (2, 2, 2)),  # on from there, row 2 from a place that it has read
    Span((0, 2), (4, 6), (3, 1)),  # row 1 is left out
    Span((1,), (0,), (8,)),  # a row alone, from its beginning
    Span((2,), (6,), (2,)),
    Span((0, 1, 2), (7, 7, 7), (1, 1, 1)),  # all alike
    Span((0, 1, 2), (5, 5, 5), (2, 2, 2)),
]


def padded(rows, span):
    return torch.stack(
        [
            torch.nn.functional.pad(row[start : start + count], (0, 0) * (row.dim() - 1) + (0, span.width - count))
            for row, start, count in zip(rows, span.start, span.count, strict=True)
        ]
    )


def of_use(made, span):
    return torch.cat([row[:count] for row, count in zip(made, span.count, strict=True)])


def test_states_are_those_of_the_whole_row(model, reader):
    with torch.no_grad():
        whole = model.main.trunk(torch.tensor(IDS))
    for span in SPANS:
        rows = list(span.rows)
        normed, unnormed = reader.read(padded(torch.tensor(IDS)[rows], span), span)
        for made, expected in ((normed, whole.hidden), (unnormed, whole.unnormed)):
            torch.testing.assert_close(of_use(made, span), of_use(padded(expected[rows], span), span))


def test_what_a_row_held_behind_its_place_is_forgotten(model, reader):
    alone = Span((1,), (0,), (8,))
    reader.read(torch.tensor([[9] * 8]), alone)
    reader.read(torch.tensor([IDS[1][:4]]), Span((1,), (0,), (4,)))
    normed, _ = reader.read(torch.tensor([IDS[1][4:6]]), Span((1,), (4,), (2,)))
    with torch.no_grad():
        torch.testing.assert_close(normed, model.main.hidden(torch.tensor([IDS[1][:6]]))[:, 4:])


def test_modules_have_the_states_of_the_whole_row(model, reader):
    ids = torch.tensor(IDS)
    with torch.no_grad():
        trunk = model.main.trunk(ids)
        reader.read(ids, Span((0, 1, 2), (0, 0, 0), (8, 8, 8)))
        ahead = [trunk.embedded.roll(-k, 1) for k in (1, 2)]
        first = model.mtp.module(1)(trunk.hidden, ahead[0], *trunk.arguments)
        second = model.mtp.module(2)(first[0], ahead[1], *trunk.arguments)
    for span in SPANS:
        rows = list(span.rows)
        for depth, hidden, expected in ((1, trunk.hidden, first), (2, first[0], second)):
            read = padded(hidden[rows], span), padded(ahead[depth - 1][rows], span)
            made = reader.module(depth, model.mtp.module(depth), *read, span)
            for each, whole in zip(made, expected, strict=True):
                torch.testing.assert_close(of_use(each, span), of_use(padded(whole[rows], span), span))


def test_embeddings_are_the_decoders(model, reader):
    ids = torch.tensor(IDS)
    with torch.no_grad():
        torch.testing.assert_close(reader.embed(ids), model.main.trunk(ids).embedded)


def test_a_decoder_without_a_cache_of_its_own_reads_anew(model):
    assert isinstance(super(GPT, model.main).draft_reader(rows=1, room=8, depth=1), AnewDraftReader)
    assert isinstance(model.main.draft_reader(rows=1, room=8, depth=1), CachedDraftReader)
