"""SFTMixin: TRL's SFTTrainer with a patched model. Its own loss multiplies with the head's weight and asks no forward.

SFTTrainer's fused head reads the weight of `lm_head` and a list of fields of the config (TRL 1.16); an adapter on the
head, a bias behind a norm, or a cap under another name is not among them. This mixin gives the loss back to the model.
"""

from typing import TYPE_CHECKING, Any, Final

from torch import Tensor, nn

from lmhead.errors import require
from lmhead.models.transformers.patching.refusals import model_inside
from lmhead.ops.problem import TokenStatistics
from lmhead.trainers.evaluation import EvaluationMixin
from lmhead.trainers.taken_statistics import patch_of, taken_statistics

_ELSE: Final = "without the mixin and the patch SFTTrainer takes another"


class SFTMixin(EvaluationMixin):
    """The loss of TRL's SFTTrainer out of a patched model, its logs from the loss's statistics; EvaluationMixin too.

        class MyTrainer(lmhead.SFTMixin, trl.SFTTrainer): ...
        lmhead.patch(model)
        MyTrainer(model=model, args=trl.SFTConfig(...), ...).train()

    loss, entropy, mean_token_accuracy, num_tokens and a router's aux_loss are TRL's, with assistant_only_loss, packing,
    padding_free and PEFT. A model that SFTTrainer makes itself of a name: `lmhead.patch(trainer.model)` before train().

    Raises:
        ArgumentError: another loss_type than "nll", label_smoothing_factor or compute_loss_func: other losses.
    """

    if TYPE_CHECKING:  # SFTTrainer's own, which stands behind this class
        args: Any
        aux_loss_enabled: Any
        current_gradient_accumulation_steps: Any
        compute_loss_func: Any
        _metrics: Any
        _total_train_tokens: Any
    router_aux_loss_coef: Any = None  # of versions of TRL that add the router's loss by themselves
    _tp_size: Any = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        trainer: Any = super()
        trainer.__init__(*args, **kwargs)
        for name, taken, plain in (
            ("loss_type", self.args.loss_type, "nll"),
            ("label_smoothing_factor", self.args.label_smoothing_factor, 0.0),
            ("compute_loss_func", self.compute_loss_func, None),
        ):
            require(taken == plain, name, f"be {plain!r}", repr(taken), "the loss is the patched model's own; " + _ELSE)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # [], of the whole window
    ) -> Any:
        """The patched model's loss, as SFTTrainer's.

        Raises:
            ArgumentError: the model is not patched.
        """
        from transformers import Trainer

        patch_of(self.model)
        inputs = {**inputs, "use_cache": False}
        if self.aux_loss_enabled:
            inputs["output_router_logits"] = True
        stock: Any = Trainer  # past SFTTrainer's, which asks no forward
        loss, outputs = stock.compute_loss(
            self, model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        statistics = taken_statistics(self.model)
        if self.aux_loss_enabled and self.router_aux_loss_coef is not None:
            loss = self._with_aux_loss_of_window(loss, outputs["aux_loss"], num_items_in_batch)
        self._log_as_trl(statistics, inputs, outputs)
        return (loss, outputs) if return_outputs else loss

    def _with_aux_loss_of_window(self, loss: Tensor, aux_loss: Tensor, items: Tensor | int | None) -> Tensor:
        """TRL's: the router's loss is averaged over micro-batches and ranks; the model's own adds it to each."""
        inside: Any = model_inside(self.model)
        config = inside.config.get_text_config()
        coefficient = getattr(inside, "router_aux_loss_coef", getattr(config, "router_aux_loss_coef", 0.0))
        steps, ranks = 1, 1
        if items is not None:
            steps = self.current_gradient_accumulation_steps
            if self.args.average_tokens_across_devices:
                ranks = self.accelerator.num_processes // self._tp_size
        made: Tensor = loss + (self.router_aux_loss_coef / steps - coefficient * ranks) * aux_loss.to(loss.device)
        return made

    def _log_as_trl(self, statistics: TokenStatistics, inputs: dict[str, Any], outputs: Any) -> None:
        """TRL's own figures, by its rules: a mean over each micro-batch, and of these."""
        mode = "train" if self.model.training else "eval"
        metrics = self._metrics[mode]
        scored = self._gathered(statistics.scored.sum())
        metrics["entropy"].append(self._gathered(statistics.entropy.sum()) / max(scored, 1))
        metrics["mean_token_accuracy"].append(self._gathered(statistics.hit.sum()) / max(scored, 1))
        if mode == "train":
            self._total_train_tokens += int(self._gathered(_read(inputs))) // self._tp_size
        metrics["num_tokens"] = [self._total_train_tokens]
        if self.aux_loss_enabled:
            metrics["aux_loss"].append(float(self.accelerator.gather_for_metrics(outputs["aux_loss"].detach()).mean()))

    def _gathered(self, value: Tensor) -> float:
        return float(self.accelerator.gather_for_metrics(value).sum())


def _read(inputs: dict[str, Any]) -> Tensor:
    """Tokens of a batch [], as TRL counts them: those of the mask; of rows without one, or with one of pairs, all."""
    mask = inputs.get("attention_mask")
    ids: Tensor = inputs["input_ids"]
    if mask is not None and mask.dim() == 2:
        count: Tensor = mask.sum()
        return count
    return ids.new_tensor(ids.numel())
