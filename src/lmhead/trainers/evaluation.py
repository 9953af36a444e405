"""EvaluationMixin: exact figures over tokens, in transformers' Trainer and what is made of it.

Trainer's own eval_loss is a mean over batches, weighted by their rows: which tokens share a batch changes it
(transformers #39241). It is replaced.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError
from lmhead.labels.offsets.byte_counts import byte_counts
from lmhead.ops.problem import TokenStatistics
from lmhead.options import option
from lmhead.trainers.evaluated_tokens import EvaluatedTokens
from lmhead.trainers.source_column import kept_source_column
from lmhead.trainers.statistics_callback import StatisticsCallback
from lmhead.trainers.taken_statistics import patch_of, taken_statistics, without_logits

_ROUNDING: Final = 1e-5  # relative, of a float32 mean over many tokens


class EvaluationMixin:
    """An exact eval_loss; eval_nll, eval_perplexity, eval_accuracy, eval_entropy, eval_tokens and eval_bits_per_byte.

        class MyTrainer(lmhead.EvaluationMixin, transformers.Trainer): ...
        lmhead.patch(model)
        MyTrainer(model=model, ...).evaluate()

    Each scored token counts once, over all batches and ranks: eval_nll is summed nll / scored tokens, whatever shares a
    batch, and rows that a sampler repeats to fill the last batch of several ranks are left out. eval_loss is eval_nll,
    and where the model or `compute_loss` adds something to the cross entropy (a router's loss) that too, each batch's
    by its scored tokens. `metric_for_best_model="loss"` and early stopping judge by it. Where no token is scored there
    is no eval_loss. No logits are made but for `compute_metrics`.

    With `source_key = "source"` in the class, or set on the trainer, that column of the data set tells which source a
    row is of: eval_nll/SOURCE and eval_tokens/SOURCE, whose weighted sum is eval_nll.

    eval_bits_per_byte is there where `scored_bytes` knows the bytes of the scored tokens. What StatisticsCallback logs
    of the training goes to every reporter, where this class is among the trainer's bases.
    """

    if TYPE_CHECKING:  # Trainer's own, which stands behind this class
        model: Any
        accelerator: Any
        args: Any
        label_names: Any
        processing_class: Any
        callback_handler: Any
    source_key: str | None = None  # a column of the data sets that are evaluated
    _items: Any = None  # what the loss of the batch was divided by, where Trainer counts it
    _evaluated: EvaluatedTokens | None = None
    _byte_counts: npt.NDArray[np.int64] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a trainer that stands before this class among the bases, whose methods would win without a word."""
        super().__init_subclass__(**options)
        before = cls.__mro__[: cls.__mro__.index(EvaluationMixin)]
        winners = [
            each for each in before if not issubclass(each, EvaluationMixin) and hasattr(each, "evaluation_loop")
        ]
        if winners:
            raise ArgumentTypeError(
                f"bases of {cls.__name__} must begin with lmhead's mixin, got {winners[0].__name__} before it: write "
                f"class {cls.__name__}(lmhead.{_mixin(cls)}, {winners[0].__name__})"
            )

    def scored_bytes(
        self,
        ids: Tensor,  # [N] int64
    ) -> int | None:
        """UTF-8 bytes of text that scored tokens stand for; None where they are not known. To be overridden, too.

        Known where `processing_class` is a fast tokenizer that loses nothing (byte_counts.py). Control tokens are no
        text.
        """
        counts = self._byte_counts
        if counts is None:
            return None
        numbers = ids.cpu().numpy()
        return int(counts[numbers[numbers < len(counts)]].sum())  # ids beyond the tokenizer's are no text

    def evaluation_loop(
        self,
        dataloader: Any,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> Any:
        """Trainer's, with the figures among its metrics.

        Raises:
            ArgumentError: the model is not patched, or the trainer's loss goes past the patch.
        """
        trainer: Any = super()
        patch_of(self.model)
        backend = getattr(getattr(self.processing_class, "tokenizer", self.processing_class), "backend_tokenizer", None)
        self._byte_counts = byte_counts(backend) if isinstance(backend, Tokenizer) else None
        self._evaluated = EvaluatedTokens()
        try:
            output = trainer.evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix=metric_key_prefix
            )
            evaluated = self._evaluated
            if self.accelerator.num_processes > 1:
                evaluated = evaluated.merged(self._summed, self._sources_of_all(evaluated.sources))
        finally:
            self._evaluated = None
        output.metrics.pop(f"{metric_key_prefix}_loss", None)  # a mean over batches
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in evaluated.figures().items()})
        return output

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Any:
        """Trainer's; what was scored is counted.

        Raises:
            ArgumentError: `compute_metrics` needs logits, and the patch makes none.
        """
        trainer: Any = super()
        sources = inputs.get(self.source_key) if self.source_key is not None else None
        if sources is not None:
            inputs = {name: value for name, value in inputs.items() if name != self.source_key}
        if not prediction_loss_only and patch_of(self.model).logits == "never":
            raise ArgumentError(
                f"compute_metrics must be given logits, got a model that makes none: lmhead.patch(model, "
                f"{option('logits', 'eval')})"
            )
        self._items = None
        with without_logits(self.model) if prediction_loss_only else nullcontext():
            made = trainer.prediction_step(model, inputs, prediction_loss_only, ignore_keys=ignore_keys)
        if self._evaluated is not None and made[0] is not None:
            self._count(inputs, float(made[0]), sources)
        return made

    def get_eval_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's; batches have the column of sources, where there is one."""
        trainer: Any = super()
        with kept_source_column(self, self.source_key):
            return trainer.get_eval_dataloader(*args, **kwargs)

    def get_test_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's, likewise."""
        trainer: Any = super()
        with kept_source_column(self, self.source_key):
            return trainer.get_test_dataloader(*args, **kwargs)

    def _get_num_items_in_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's, remembered: the loss of an evaluation's batch may be divided by the tokens of all ranks."""
        trainer: Any = super()
        self._items = trainer._get_num_items_in_batch(*args, **kwargs)
        return self._items

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Trainer's, with what StatisticsCallback knows of the training."""
        trainer: Any = super()
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, StatisticsCallback):
                callback.add_to(logs)
        trainer.log(logs, *args, **kwargs)

    def _count(self, inputs: Mapping[str, Any], loss: float, sources: Sequence[str] | None) -> None:
        assert self._evaluated is not None
        statistics = taken_statistics(self.model)
        labels = inputs[self.label_names[0]]
        rows = labels.shape[0]
        if statistics.scored.numel() % rows:
            raise ArgumentError(
                f"statistics must be of {rows} rows alike, got {statistics.scored.numel()} positions: evaluate a model "
                "whose loss sees as many positions of each row"
            )
        added = self._added_to(statistics, loss)
        real = self._real_rows(rows)
        statistics = statistics.each(lambda column: column.view(rows, -1)[:real])
        ids = _scored_ids(inputs, labels, rows=real, scored=statistics.scored)
        self._evaluated.update(
            statistics,
            num_bytes=None if ids is None else self.scored_bytes(ids),
            added=added,
            sources=None if sources is None else sources[:real],
        )

    def _added_to(self, statistics: TokenStatistics, loss: float) -> float:
        """Nats that a batch's loss has beside its mean nll, as Trainer divides that; 0 within float32's rounding."""
        nll = float(statistics.nll.double().sum())
        divisor = float(statistics.scored.sum())
        if self._items is not None:
            divisor = float(torch.as_tensor(self._items).flatten()[0])
            if self.args.average_tokens_across_devices:
                divisor /= self.accelerator.num_processes // getattr(self, "get_tp_size", lambda: 1)()
        added = loss - nll / divisor if divisor else 0.0
        return added if abs(added) > _ROUNDING * max(1.0, abs(loss)) else 0.0

    def _real_rows(self, rows: int) -> int:
        """Rows of this rank's batch that no sampler has added to fill the last batch of all ranks; they come last."""
        if self.accelerator.num_processes == 1:
            return rows
        place = self.accelerator.process_index
        mine = torch.full((rows,), place, device=self.accelerator.device)
        return int((self.accelerator.gather_for_metrics(mine) == place).sum())

    def _sources_of_all(self, own: list[str]) -> list[str]:
        """Those that any rank has met."""
        from accelerate.utils import gather_object

        return sorted(set(gather_object(own)))

    def _summed(self, values: list[float]) -> list[float]:
        gathered = self.accelerator.gather(torch.tensor([values], dtype=torch.float64, device=self.accelerator.device))
        summed: list[float] = gathered.sum(0).tolist()
        return summed


def _mixin(trainer: type[EvaluationMixin]) -> str:
    """The name of the mixin that a trainer is made with."""
    return next(each.__name__ for each in trainer.__mro__ if each.__module__.startswith("lmhead."))


def _scored_ids(
    inputs: Mapping[str, Any],
    labels: Tensor,  # [B, T]
    *,
    rows: int,  # of them that count
    scored: Tensor,  # bool [rows, ...]
) -> Tensor | None:
    """The ids of the scored tokens [N]; None where the loss did not score what the labels tell."""
    shifted = inputs.get("shift_labels")
    count = int(scored.sum())
    for told in (shifted, labels[..., 1:], labels):  # most models shift labels, some do not
        if told is not None:
            ids: Tensor = told[:rows]
            ids = ids[ids != IGNORE_INDEX]
            if len(ids) == count:
                return ids
    return None
