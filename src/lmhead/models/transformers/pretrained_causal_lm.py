"""PretrainedCausalLM: a causal language model of transformers, patched, as this library's loop trains and samples it.

    source -> read_causal_lm -> (lora) -> lmhead.patch -> loss without logits, reader, save -> a standard checkpoint

Not here: the patch and its proof (patching/), which documents a model keeps apart (inspection/isolation/).
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast, final

import torch
from torch import Tensor, nn

from lmhead.errors import IGNORE_INDEX, ArgumentError, InputError, require
from lmhead.heads.scoring_head import ScoringHead
from lmhead.labels.labels_or_targets import targets_from
from lmhead.labels.packing.attention_mask import restarting_positions
from lmhead.labels.targets import Targets
from lmhead.losses.head_tensors import HeadLogits
from lmhead.models.causal_lm import Reader
from lmhead.models.check_rows import check_rows
from lmhead.models.multi_token.draft_reader import DraftReader
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import Kind, MultiTokenStyle
from lmhead.models.multi_token.trunk import Backbone, Trunk
from lmhead.models.transformers.cached_reader import AnewReader, CachedReader, cache_is_right
from lmhead.models.transformers.context import context_length
from lmhead.models.transformers.first_reading import logits_width, require_model
from lmhead.models.transformers.lora import (
    add_lora,
    base_of,
    changes_nothing,
    holds_adapters,
    read_lora,
    saved_vocabulary,
)
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.multi_token.cached_draft_reader import CachedDraftReader, caches_are_right
from lmhead.models.transformers.multi_token.decoder_layers import DecoderLayers, decoder_layers
from lmhead.models.transformers.multi_token.layer_call import prove_call, watched
from lmhead.models.transformers.multi_token.new_modules import draw, new_layer, new_norm
from lmhead.models.transformers.multi_token.pretrained_family import own_style
from lmhead.models.transformers.multi_token.pretrained_head import HeadOptions, PretrainedHead, head_options
from lmhead.models.transformers.multi_token.saved_modules import save_modules, saved_modules
from lmhead.models.transformers.patching.patch import is_patched, lazy_logits_and_rest, patch, unpatch
from lmhead.models.transformers.quiet import quiet_transformers
from lmhead.models.transformers.read_causal_lm import Quantization, first_line, located, read_causal_lm
from lmhead.models.transformers.saved_folder import copy_source_files, save_folder
from lmhead.models.transformers.told_documents import WAYS, Way, told, window_of
from lmhead.models.transformers.unmade_loss import as_given, recorded_head, share_of
from lmhead.models.transformers.vocabulary import embedding_of, grow, head_of
from lmhead.ops.keywords import ModelLossKeywords, require_known
from lmhead.ops.linear_cross_entropy import linear_cross_entropy
from lmhead.ops.problem import TokenStatistics
from lmhead.options import option

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@final
class PretrainedCausalLM(Backbone):
    """A causal language model of transformers, PEFT's adapters on it included, with the loss of this library.

        model = PretrainedCausalLM.load("Qwen/Qwen3-0.6B", lora=LoraOptions(rank=16))
        model.loss(ids, targets, document=document)             # as GPT.loss: no logits are made
        model.save("tuned")                                     # what transformers, or PEFT, loads

    The model is patched in place (`lmhead.patch`), which proves that its logits are those that the loss is of, and read
    through once, which shows that it is causal.

    Args:
        model: a model with a head, as AutoModelForCausalLM makes it, or PEFT's around one.
        source: the folder or the name that it was loaded from; its tokenizer is saved with the model.

    Raises:
        ArgumentError: the patch refuses the model, and why, or its adapters are learnt prompts.
        ArgumentTypeError: it is no such model.
        InputError: it reads more than ids, or both ways.
    """

    def __init__(self, model: "PreTrainedModel | PeftModel", *, source: str | None = None) -> None:
        super().__init__()
        require_model(model)
        self.model: Any = model
        self.train(model.training)
        self.source = source
        self._fresh_lora: LoraOptions | None = None  # of adapters that were made here
        self._cache_is_right: bool | None = None  # None: not tried yet
        self._draft_caches_are_right: bool | None = None
        self.tells_documents_by: Way = WAYS[0]  # inspection/isolation/mixed_documents.py finds which one holds
        self._head_options: HeadOptions | None = None  # None: not asked for yet
        self._is_backbone = False  # its last layer's call was repeated, and gave the same
        self._takes = frozenset(inspect.signature(type(self.base).forward).parameters)
        self._context = context_length(self.base)
        patched = is_patched(self.base)
        if not patched:
            patch(self.base)
        try:
            self._width = logits_width(self.base, use_cache=False)
        except InputError:
            if not patched:
                unpatch(self.base)
            raise

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        lora: LoraOptions | None = None,
        quantize: Quantization | None = None,
        attn_implementation: str | None = None,
    ) -> Self:
        """The model in a folder or of a name on the Hub, or adapters and the model that they name; evaluation mode.

        Args:
            dtype: of the weights; None: as they are stored.
            lora: fresh adapters, drawn from torch's global generator, beside weights that are frozen then.
            quantize: the linear layers but the head, by bitsandbytes; they are frozen.
            attn_implementation: None: sdpa where the model has it.

        Raises:
            InputError: a package is missing, or there is no such model, or it is one that cannot be used; and why.
            ArgumentError: the patch refuses the model, or an option breaks its rule.
        """
        found = located(source)
        adapters = Path(found) if holds_adapters(found) else None
        if adapters is not None:
            require(lora is None, option("lora"), "be left out where adapters are trained on", lora, "they have theirs")
        base = read_causal_lm(
            found if adapters is None else located(base_of(adapters)),
            dtype=dtype,
            device=device,
            quantize=quantize,
            attn_implementation=attn_implementation,
        )
        if quantize is not None:
            base.requires_grad_(False)
        model: PreTrainedModel | PeftModel = base
        if adapters is not None:
            grow(base, saved_vocabulary(adapters) or 0, ())
            model = read_lora(base, adapters)
        elif lora is not None:
            model = add_lora(base, lora)
        made = cls(model, source=found)
        made._fresh_lora = lora
        return made.eval()

    @property
    def base(self) -> "PreTrainedModel":
        """The model of transformers, with PEFT's layers in it where there are adapters."""
        model = self.model
        return cast("PreTrainedModel", model.get_base_model() if hasattr(model, "peft_config") else model)

    @property
    def lm_head(self) -> nn.Module:
        """The output layer, as it is now."""
        return head_of(self.base)

    @property
    def vocab_size(self) -> int:
        """V: the width of the logits."""
        return self._width

    @property
    def max_seq_len(self) -> int:
        """Tokens that the model can read at most, the context."""
        return self._context

    def forward(self, ids: Tensor, *, document: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] of ids [B, T]; attention stays within a document [B, T]."""
        self._check(ids, document)
        logits: Tensor = self.base(input_ids=ids, **self._keywords(document)).logits
        return logits

    def _loss(
        self,
        ids: Tensor,  # [B, T]
        targets: Tensor | Targets,  # [B, T]
        document: Tensor | None,  # [B, T]
        return_stats: bool | Literal["nll"],
        options: ModelLossKeywords,
    ) -> Tensor | tuple[Tensor, TokenStatistics] | tuple[Tensor, Tensor]:
        """The patched model's cross entropy, with what the model itself adds to it (a router's loss)."""
        require_known(f"{type(self).__name__}.loss", options, ModelLossKeywords)
        self._check(ids, document)
        logits, rest = lazy_logits_and_rest(self.base, input_ids=ids, labels=ids, **self._read_with(document, targets))
        chosen = targets_from(
            (),
            labels=None,
            targets=targets,
            of=logits.hidden,
            token_weight=options.get("token_weight"),
            ignore_index=options.get("ignore_index", IGNORE_INDEX),
        )
        added = 0.0 if rest is None else rest * share_of(chosen, options)
        hidden, weight, keywords = as_given(logits, chosen, options)
        if return_stats == "nll":
            loss, nll = linear_cross_entropy(hidden, weight, chosen.ids, return_stats="nll", **keywords)
            return loss + added, nll
        if return_stats:
            loss, statistics = linear_cross_entropy(hidden, weight, chosen.ids, return_stats=True, **keywords)
            return loss + added, statistics
        return linear_cross_entropy(hidden, weight, chosen.ids, **keywords) + added

    def hidden_and_head(
        self,
        ids: Tensor,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
    ) -> tuple[Tensor, HeadLogits]:
        """(what the output layer is given [B, T, D], that layer as it is now and what the model does to its logits)."""
        self._check(ids, document)
        logits, _ = lazy_logits_and_rest(self.base, input_ids=ids, **self._keywords(document))
        return logits.hidden, recorded_head(logits)

    def _read_with(self, document: Tensor | None, targets: Tensor | Targets | None) -> dict[str, Any]:
        keywords = self._keywords(document)
        routed = getattr(self._text_config, "output_router_logits", False)
        if routed and document is None and isinstance(targets, Targets) and targets.document is not None:
            keywords["attention_mask"] = (targets.document >= 0).long()  # no expert is judged by padding
        return keywords

    def _check(self, ids: Tensor, document: Tensor | None) -> None:
        check_rows(ids, document, vocab_size=embedding_of(self.base).weight.shape[0], max_seq_len=self._context)

    def _keywords(self, document: Tensor | None) -> dict[str, Any]:
        keywords: dict[str, Any] = {"use_cache": False}
        if document is None:
            return keywords
        return keywords | told(
            self.tells_documents_by, document, takes=self._takes, config=self._text_config, dtype=self.base.dtype
        )

    @property
    def _text_config(self) -> Any:
        return self.base.config.get_text_config(decoder=True)

    @property
    def takes_positions(self) -> bool:
        """Whether its forward can be told position_ids."""
        return "position_ids" in self._takes

    @property
    def window(self) -> int | None:
        """Tokens that the model's narrowest layers see; None where all see everything."""
        return window_of(self._text_config)

    def reader(self, room: int) -> Reader:
        """A Reader of one row: through the model's own cache where that gives what reading anew gives, else anew."""
        last_only: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in self._takes else {}
        anew = self._keywords(None) | last_only
        if self._cache_is_right is None:
            with torch.inference_mode():
                self._cache_is_right = "past_key_values" in self._takes and cache_is_right(
                    self.base, self.vocab_size, last_only=last_only, anew=anew
                )
        return CachedReader(self.base, last_only=last_only) if self._cache_is_right else AnewReader(self.base, anew)

    def trunk(
        self,
        ids: Tensor,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
    ) -> Trunk:
        """What the decoder makes of ids [B, T], with masks and positions as it makes them; proven at the first call.

        Raises:
            ArgumentError: it has no layer that a module of multi-token prediction can be like, and why.
        """
        return self._trunk(ids, document, None)

    def trunk_for(
        self,
        ids: Tensor,  # [B, T]
        targets: Targets,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
        depth: int = 0,
    ) -> Trunk:
        """`trunk` as the loss of these targets reads the ids: without the padding, where experts are judged."""
        return self._trunk(ids, document, targets)

    def _trunk(self, ids: Tensor, document: Tensor | None, targets: Targets | None) -> Trunk:
        self._check(ids, document)
        layers, keywords = self._layers(), self._read_with(document, targets)
        with watched(layers, embedding_of(self.base)) as call:
            logits, rest = lazy_logits_and_rest(self.base, input_ids=ids, labels=ids, **keywords)
        positions = torch.arange(ids.shape[1], device=ids.device)
        return Trunk(
            hidden=logits.hidden,
            unnormed=call.unnormed,
            embedded=call.embedded,
            positions=positions if document is None else restarting_positions(document),
            added=rest,
            arguments=call.arguments,
            keywords=call.keywords,
        )

    def _layers(self) -> DecoderLayers:
        layers = decoder_layers(self.base)
        if not self._is_backbone:
            prove_call(self.base, layers, embedding_of(self.base), use_cache=False)
            self._is_backbone = True
        return layers

    @property
    def scoring_head(self) -> ScoringHead:
        """The output layer as it is now, with what the model does to its logits."""
        if self._head_options is None:
            self._head_options = head_options(self.base, use_cache=False)
        return PretrainedHead(self.lm_head, width=self._width, options=self._head_options)

    @property
    def width(self) -> int:
        """D: of the hidden states."""
        return int(embedding_of(self.base).weight.shape[-1])

    def new_block(self, index: int) -> nn.Module:
        """A layer of the class of the decoder's last: layer(x, *trunk.arguments, **trunk.keywords).

        Raises:
            ArgumentError: it has no layer that a module of multi-token prediction can be like, and why.
        """
        return new_layer(self._layers(), index)

    def new_norm(self) -> nn.Module:
        """A norm of width D of the decoder's own kind."""
        return new_norm(self._layers(), self.width)

    def module_style(self, family: str | None = None, *, kind: Kind, depth: int) -> MultiTokenStyle:
        """How modules behind the decoder are: as those of the model's own family, where transformers has modules of it.

        Raises:
            ArgumentError: another family is asked for.
        """
        return own_style(self._text_config, family)

    def draw(self, modules: nn.Module) -> None:
        """Initialise modules that stand behind the decoder as its own were, from torch's global generator."""
        draw(self.base, modules)

    def draft_reader(self, *, rows: int, room: int, depth: int) -> DraftReader:
        """A DraftReader of so many rows: through the model's own caches where these give what reading anew gives."""
        if self._draft_caches_are_right is None:
            self._draft_caches_are_right = caches_are_right(self, self.base, self._layers())
        if self._draft_caches_are_right:
            return CachedDraftReader(self.base, self._layers(), rows=rows, depth=depth)
        return super().draft_reader(rows=rows, room=room, depth=depth)

    def grow_vocabulary(self, size: int, new_ids: Sequence[int] = ()) -> None:
        """Give embedding and head at least `size` rows; new ones, and those of `new_ids`, are the mean of the others.

        With fresh adapters embedding and head are trained in full from then on: rows that are alike and frozen would
        stay alike.

        Raises:
            ArgumentError: the adapters are trained already, and their rows would have to change.
        """
        if size <= self._rows() and not new_ids:
            return
        if self.model is not self.base:
            if self._fresh_lora is None or not changes_nothing(self.model):
                raise ArgumentError(
                    "the vocabulary must not change beside trained adapters, got new tokens: merge them into their "
                    "model first (peft's merge_and_unload), and train that on"
                )
            self.model = self.model.unload()
        grow(self.base, size, new_ids)
        if self._fresh_lora is not None:
            self.model = add_lora(self.base, self._fresh_lora, train_vocabulary=True)
        self._width = logits_width(self.base, use_cache=False)

    def _rows(self) -> int:
        """Tokens that have a row in the embedding and in the head."""
        return min(len(embedding_of(self.base).weight), self._width)

    def with_saved_modules(self) -> "PretrainedCausalLM | MultiTokenModel":
        """The model with the modules of multi-token prediction in the folder that it came from; itself without any.

        Raises:
            InputError: the folder declares modules that it has not, or has some and does not declare them.
            ArgumentError: no module can stand behind the model.
        """
        if self.source is None:
            return self
        found = saved_modules(self.source, self.base)
        return self if found is None else found.behind(self)

    def save(self, folder: str | Path, *, modules: MultiTokenModel | None = None, max_shard_size: str = "5GB") -> None:
        """Write what `load` and transformers load, or of adapters what `load` and PEFT load; the tokenizer's files too.

        Args:
            modules: this model with modules of multi-token prediction behind it, for `with_saved_modules` to find.

        Raises:
            ArgumentError: the modules are of a family that is not the model's.
            OSError: the disk refuses.
        """
        save_folder(self.model, Path(folder), max_shard_size=max_shard_size)
        save_modules(Path(folder), modules, self.base, adapters=self.model is not self.base)
        if self.source is not None:
            copy_source_files(self.source, Path(folder))

    def checkpoint_gradients(self) -> None:
        """Have each layer computed again in the backward pass, in training, instead of keeping what it computed.

        Raises:
            ArgumentError: the model cannot do that.
        """
        try:
            with quiet_transformers():
                self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        except ValueError as error:
            raise ArgumentError(
                f"{type(self.base).__name__} must support gradient checkpointing, got: {first_line(error)}"
            ) from error
