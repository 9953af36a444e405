"""Figures of an evaluation over tokens: exact sums over its batches, and over ranks."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import final

from lmhead.batches.source_groups import MOST_LOGGED, source_groups
from lmhead.losses.token_mean import TokenMean
from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric
from lmhead.ops.problem import TokenStatistics


@final
class EvaluatedTokens:
    """What was scored so far."""

    def __init__(self) -> None:
        self._perplexity = PerplexityMetric()
        self._accuracy = TokenAccuracyMetric()
        self._entropy = TokenMean()
        self._bits = BitsPerByteMetric()
        self._added = TokenMean()  # what a trainer's loss has beside the nll
        self._uncounted = 0  # batches whose bytes are not known
        self._nll_of: Counter[str] = Counter()  # by source, where there is a column of them
        self._tokens_of: Counter[str] = Counter()

    def update(
        self,
        statistics: TokenStatistics,  # [B, T]
        *,
        num_bytes: int | None,
        added: float = 0.0,
        sources: Sequence[str] | None = None,  # [B]
    ) -> None:
        """Add a batch.

        Args:
            num_bytes: None: there will be no bits per byte.
            added: nats, what the trainer's loss of the batch has beside the nll: a router's loss.
            sources: which one each row is of.
        """
        if sources is not None:
            nll, tokens = statistics.nll.cpu().double().sum(1).tolist(), statistics.scored.sum(1).tolist()
            for source, of_nll, of_tokens in zip(sources, nll, tokens, strict=True):
                self._nll_of[source] += of_nll
                self._tokens_of[source] += of_tokens
        count = int(statistics.scored.sum())
        self._added.add(added * count, count)
        self._perplexity.update(statistics)
        self._accuracy.update(statistics)
        self._entropy.add(statistics.entropy, statistics.scored)
        if num_bytes is None:
            self._uncounted += 1
        else:
            self._bits.update(statistics, num_bytes=num_bytes)

    @property
    def sources(self) -> list[str]:
        """Those that were met."""
        return sorted(self._tokens_of)

    def merged(self, summed: Callable[[list[float]], list[float]], sources: Sequence[str] = ()) -> "EvaluatedTokens":
        """With what every rank has scored.

        Args:
            summed: adds numbers over ranks, place by place.
            sources: that any rank has met, in the same order on all.
        """
        parts = [self._perplexity.state(), self._accuracy.state(), self._entropy.state(), self._bits.state()]
        parts.append(self._added.state())
        by_source = [*(self._nll_of[name] for name in sources), *(self._tokens_of[name] for name in sources)]
        sums = iter(summed([*(value for part in parts for value in part.values()), self._uncounted, *by_source]))
        perplexity, accuracy, entropy, bits, added = (dict(zip(part, sums, strict=False)) for part in parts)
        merged = EvaluatedTokens()
        merged._perplexity = PerplexityMetric.from_state(perplexity)
        merged._accuracy = TokenAccuracyMetric.from_state(accuracy)
        merged._entropy = TokenMean.from_state(entropy)
        merged._bits = BitsPerByteMetric.from_state(bits)
        merged._added = TokenMean.from_state(added)
        merged._uncounted = int(next(sums))
        merged._nll_of = Counter(dict(zip(sources, sums, strict=False)))
        merged._tokens_of = Counter({name: round(tokens) for name, tokens in zip(sources, sums, strict=True)})
        return merged

    def figures(self) -> Mapping[str, float]:
        """loss, nll, perplexity, accuracy and entropy per scored token, and how many there are; bits per byte if known.

        The loss is the nll and, token-weighted, what the trainer's own loss has beside it.
        Names are those of `lmhead train`'s evaluations. Nothing but the count where no token was scored.
        """
        tokens = self._perplexity.tokens
        if not tokens:
            return {"tokens": 0}
        figures = {
            "loss": self._perplexity.mean_nll + self._added.mean,
            "nll": self._perplexity.mean_nll,
            "perplexity": self._perplexity.compute(),
            "accuracy": self._accuracy.compute(),
            "entropy": self._entropy.mean,
            "tokens": tokens,
        }
        if self._bits.num_bytes and not self._uncounted:
            figures |= {"bits_per_byte": self._bits.compute(), "bytes": self._bits.num_bytes}
        return figures | self._by_source()

    def _by_source(self) -> dict[str, float]:
        """nll/SOURCE and tokens/SOURCE of each one, of more than 32 of groups."""
        if not self._tokens_of:
            return {}
        nll, tokens = Counter[str](), Counter[str]()
        for source, group in source_groups(self._tokens_of, most=MOST_LOGGED).items():
            nll[group] += self._nll_of[source]
            tokens[group] += self._tokens_of[source]
        scored = [name for name in tokens if tokens[name]]
        means = {f"nll/{name}": nll[name] / tokens[name] for name in scored}
        return means | {f"tokens/{name}": tokens[name] for name in scored}
