"""Models with one fault each, as people build them: an audit must name it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import lmhead
from lmhead.data.rows.row import Place
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.labels.example import Example
from lmhead.models.causal_lm import CausalLM

V, CONTEXT = 40, 32


def gpt(**options: Any) -> lmhead.GPT:
    """With positions that are learnt, and attention that matters."""
    torch.manual_seed(0)
    model = lmhead.GPT(V, 16, 2, 2, CONTEXT, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def documents(count: int = 14, longest: int = 40, *, whole: bool = True) -> list[EvaluationDocument]:
    """Of bytes: each id is a byte of the text."""
    rng = np.random.default_rng(0)

    def drawn(number: int) -> EvaluationDocument:
        T = int(rng.integers(3, longest))
        ids = rng.integers(0, V, T)
        trained = [False] + ([True] * (T - 1) if whole else (rng.random(T - 1) < 0.7).tolist())
        ends = np.cumsum(trained).astype(np.int64)
        return EvaluationDocument(
            place=Place(source="a.txt", number=number),
            source="a.txt",
            example=Example.of(ids.tolist(), trained=trained),
            utf8=bytes(int(ends[-1])),
            ends=ends,
        )

    return [drawn(number) for number in range(count)]


class Faulty(CausalLM):
    """A GPT that is right but for `hidden`, or `_loss`."""

    def __init__(self, inner: lmhead.GPT | None = None) -> None:
        super().__init__()
        self.inner = inner or gpt()
        self.eval()

    @property
    def lm_head(self) -> Any:
        return self.inner.lm_head

    @property
    def vocab_size(self) -> int:
        return V

    @property
    def max_seq_len(self) -> int:
        return CONTEXT

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        return self.inner.hidden(ids, document=document)

    def _loss(self, ids: Any, targets: Any, document: Any, return_stats: Any, options: Any) -> Any:
        return self.lm_head.loss(self.hidden(ids, document), targets=targets, return_stats=return_stats, **options)

    def hidden_and_head(self, ids: Tensor, *, document: Tensor | None = None) -> Any:
        hidden = self.hidden(ids, document)
        return hidden, self.lm_head.logits_of(hidden)

    def reader(self, room: int) -> Any:
        return Anew(self)


class Anew:
    """Reads everything again with each token."""

    def __init__(self, model: Faulty) -> None:
        self.model, self.ids = model, list[int]()

    @torch.no_grad()
    def read(self, ids: Any) -> Tensor:
        self.ids += ids
        hidden = self.model.hidden(torch.tensor([self.ids]), None)
        return self.model.lm_head(hidden[0, -1]).float()  # type: ignore[no-any-return]


class SeesPadding(Faulty):
    """Of padding it is told, and does not tell its attention: positions restart, the mask is forgotten."""

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        if document is None or bool((document > 0).any()):
            return self.inner.hidden(ids, document=document)
        first = (document >= 0).long().argmax(-1)
        decoder = self.inner.model
        positions = (torch.arange(ids.shape[1]) - first[:, None]).clamp(min=0)
        x = decoder.embed(ids) + decoder.embed_positions(positions)
        for layer in decoder.layers:
            x = layer(x, None, None, None)
        return decoder.norm(x)


class PositionsOfTheRow(Faulty):
    """Attention knows the documents; positions count from the beginning of the row."""

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        if document is None:
            return self.inner.hidden(ids)
        from lmhead.labels.packing.attention_mask import sdpa_mask

        decoder = self.inner.model
        x = decoder.embed(ids) + decoder.embed_positions(torch.arange(ids.shape[1]))
        for layer in decoder.layers:
            x = layer(x, None, sdpa_mask(document), None)
        return decoder.norm(x)


class DocumentsMeet(Faulty):
    """A pack is read as one text; padding it knows."""

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        return self.inner.hidden(ids, document=None if document is None else document.clamp(max=0))


class NormalisesTheBatch(Faulty):
    """Hidden states less their mean over the rows at a position."""

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        hidden = self.inner.hidden(ids, document=document)
        return hidden + 0.05 * hidden.mean(0, keepdim=True)


class LooksAhead(Faulty):
    """A row's states see its mean: what stands behind them."""

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        hidden = self.inner.hidden(ids, document=document)
        return hidden + 0.05 * hidden.mean(1, keepdim=True)


class DropoutLeftOn(Faulty):
    """F.dropout without training=self.training."""

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        return F.dropout(self.inner.hidden(ids, document=document), 0.1)


class MeanOfMeans(Faulty):
    """The divisor is not looked at: micro-batches of means, each divided by their number."""

    def _loss(self, ids: Any, targets: Any, document: Any, return_stats: Any, options: Any) -> Any:
        divisor = options.pop("divisor", None)
        made = super()._loss(ids, targets, document, return_stats, options)
        batches = 1 if divisor is None else 4
        return (made[0] / batches, made[1]) if return_stats else made / batches


class CountsOneTooMany(Faulty):
    """The denominator is that of the labels before the shift."""

    def _loss(self, ids: Any, targets: Any, document: Any, return_stats: Any, options: Any) -> Any:
        divisor = options.get("divisor")
        if divisor is not None:
            options = {**options, "divisor": divisor + len(ids)}
        return super()._loss(ids, targets, document, return_stats, options)


class CacheForgets(Faulty):
    """Behind the cache positions begin anew."""

    def reader(self, room: int) -> Any:
        inner = self.inner

        class Forgetful:
            def __init__(self) -> None:
                self.reader = inner.reader(room)

            def read(self, ids: Any) -> Tensor:
                if len(ids) == 1:
                    self.reader = inner.reader(room)
                return self.reader.read(ids)

        return Forgetful()


class RoundsOnDevices(Faulty):
    """A copy on another device multiplies in few digits."""

    moved: bool = False

    def to(self, *args: Any, **keywords: Any) -> Any:
        self.moved = True
        return super().to(*args, **keywords)

    def hidden(self, ids: Tensor, document: Tensor | None) -> Tensor:
        hidden = self.inner.hidden(ids, document=document)
        return hidden.bfloat16().float() if self.moved else hidden
