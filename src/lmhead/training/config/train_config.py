"""The configuration of a run: dataclasses, and their YAML form. Imports no torch."""

import dataclasses
import difflib
import math
import reprlib
import types
import typing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.sets.data_config import DataConfig
from lmhead.errors import ArgumentError, InputError, require
from lmhead.models.config import GPTConfig
from lmhead.options import option
from lmhead.training.config.field_values import value_of
from lmhead.training.config.fine_tuning import MAY_BE_SAID, LoraConfig, PretrainedModel
from lmhead.training.config.multi_token_config import MultiTokenConfig
from lmhead.training.config.optimizer_config import Beginning, OptimizerConfig, drawn_rate
from lmhead.training.config.widths import following_widths
from lmhead.training.config.yaml_text import dump_yaml, load_yaml


def default_model() -> GPTConfig:
    """The decoder of the default run (docs/training/training.md says how it was chosen)."""
    return GPTConfig(
        vocab_size=4096,
        embed_dim=256,
        num_heads=2,
        num_layers=4,
        max_seq_len=256,
        mlp_dim=1024,
        activation="relu",
        gated=False,
        qk_norm=True,
        norm_weight=False,
        norm_embedding=True,
        tie_weights=False,
        embedding_std=1.0,
        zero_init_projections=True,
        zero_init_head=True,
    )


_TEN_YEARS = 5_256_000  # minutes
Tracking = Literal["tensorboard", "wandb", "trackio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a run's numbers, and how often it reports."""

    out: str | None = None
    """The run's folder; by default runs/ and the time of the start."""
    init: str | None = None
    """A run, a folder, or a name on the Hub, of any causal language model that transformers loads: weights, tokenizer
    and the model's sizes are taken from it."""
    seed: int = 0
    """Of the first weights, the order of the rows and what is sampled along the way."""
    steps: int | None = None
    """Optimiser steps. None: as many as fit into `minutes`, fixed after the first dozen."""
    minutes: float = 4.0
    """Where steps is not given: what the run takes, from the start to the last evaluation."""
    rows: int = 16
    """Rows of `model.max_seq_len` tokens in a micro-batch; of a model that is no decoder of this library, 4."""
    accumulate: int = 1
    """Micro-batches in a step; of a model that is no decoder of this library, 4."""
    pack: bool = True
    """Several conversations share a row, and none sees another. Off: one a row, for models that mix them."""
    device: str = "auto"
    """auto: CUDA, else MPS, else the CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the products (autocast). auto: bfloat16 where the processor has it."""
    compile: bool = False
    """torch.compile the decoder (needs a C++ compiler on a CPU)."""
    quantize: Literal["4bit", "8bit"] | None = None
    """Hold the weights beside which `lora` trains its adapters in so many bits (needs bitsandbytes)."""
    gradient_checkpointing: bool = False
    """Compute a layer's activations again in the backward instead of keeping them: less memory, a third more time."""
    label_smoothing: float = 0.0
    """The share of the target's probability that is spread over all tokens."""
    z_loss: float = 0.0
    """The factor of (log of the softmax's denominator)^2, which keeps logits near 0."""
    log_every: int = 10
    """Steps between two lines where the output is no terminal."""
    eval_every: int = 500
    """Steps between two evaluations on a part of the held-out data; the end has one on all of it."""
    save_every: int = 250
    """Steps between two checkpoints."""
    sample_every: int = 500
    """Steps between two samples."""
    eval_tokens: int | None = None
    """Held-out tokens that an evaluation along the way scores, at most; the last one scores all. None: of 64 rows."""
    keep: int = 2
    """Checkpoints kept; older ones are removed once a newer one is complete."""
    keep_best: bool = False
    """Keep the checkpoint that was best in the evaluations along the way too; each of them is saved then."""
    average: bool = False
    """Evaluate and publish the mean of the weights over the decay of the rates; training goes on with the weights."""
    prompt: str | None = None
    """What is continued or answered along the way, and logged with two held-out ones. None: a held-out beginning."""
    track: tuple[Tracking, ...] | None = None
    """Give the figures of steps and evaluations to these too: tensorboard, wandb, trackio."""
    nproc: int = 1
    """Processes that train together on this machine, one a GPU where there are any; over several machines, torchrun
    starts them (docs/ranks/many-gpus.md). The global batch is the same for any number."""
    mesh: str | None = None
    """How the ranks share the work, as dp=2,shard=4: replicas (dp), the weights of one (shard), tokens of the same rows
    (cp), the vocabulary (tp). None: all shard the weights."""
    timeout: float = 600.0
    """Seconds after which a rank that does not come to what all do together is called hung, and the run ends."""
    quiet: bool = False
    """Print the result and errors alone."""
    data: DataConfig = field(default_factory=DataConfig)
    chat: ChatConfig = field(default_factory=ChatConfig)
    model: GPTConfig | PretrainedModel = field(default_factory=default_model)
    lora: LoraConfig = field(default_factory=LoraConfig)
    mtp: MultiTokenConfig = field(default_factory=MultiTokenConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def resolved(self) -> "TrainConfig":
        """The same run with every default that depends on another field written out."""
        mtp, optimizer = self.mtp.resolved(trained=self.init is not None), self.optimizer.resolved(self.beginning)
        if optimizer.mtp_rate is None and mtp.any and (self.init is not None or mtp.isolated):
            optimizer = dataclasses.replace(optimizer, mtp_rate=self._usual_mtp_rate())
        return dataclasses.replace(self, mtp=mtp, optimizer=optimizer)

    def reopened(self) -> "TrainConfig":
        """The same run, but what `resolved` wrote out depends on the other fields again."""
        optimizer = self.optimizer.reopened(self.beginning)
        if optimizer.mtp_rate == self._usual_mtp_rate():
            optimizer = dataclasses.replace(optimizer, mtp_rate=None)
        return dataclasses.replace(self, optimizer=optimizer)

    def _usual_mtp_rate(self) -> float:
        """Of the modules' matrices where they are trained apart from the model."""
        if self.init is not None and self.mtp.drawn:
            return drawn_rate(self.optimizer.name)
        return self.optimizer.rates(self.beginning)["matrix"]

    @property
    def beginning(self) -> Beginning:
        """What the run's weights come from."""
        if isinstance(self.model, PretrainedModel):
            return "pretrained" if self.lora.rank is None else "adapter"
        return "drawn" if self.init is None else "decoder"

    @property
    def needs_init(self) -> bool:
        """Whether a run goes on with weights of `init` that no checkpoint has."""
        return self.beginning == "adapter" or (self.mtp.frozen and self.init is not None)

    @property
    def needs_transformers(self) -> bool:
        """Whether something is asked for that this library's decoder does not do."""
        return self.lora.rank is not None or self.quantize is not None or self.gradient_checkpointing

    def as_pretrained(self, model: PretrainedModel) -> "TrainConfig":
        """The same with the defaults of a model that AdamW trained, whatever it is: as many rows a step, in parts."""
        adamw = OptimizerConfig(name="adamw", beta1=0.9, beta2=0.999)
        return dataclasses.replace(self, model=model, rows=4, accumulate=4, optimizer=adamw)

    def check(self) -> None:
        """Raise ArgumentError for a value that no run can have."""
        require(0 < self.data.held_out < 1, option("data.held_out"), "be in (0, 1)", self.data.held_out)
        least = 257 if self.data.tokenizer is None and self.init is None else 1
        require(
            self.model.vocab_size >= least,
            option("model.vocab_size"),
            f"be >= {least}",
            self.model.vocab_size,
            "256 bytes and end of text",
        )
        for name in ("rows", "accumulate", "log_every", "eval_every", "save_every", "sample_every", "keep"):
            _require_count(name, getattr(self, name))
        rows = self.rows * self.accumulate
        require(
            rows < 2**31,
            option("rows"),
            f"be < 2^31 when multiplied by {option('accumulate')}",
            rows,
            "rows of one step",
        )
        for name in ("steps", "eval_tokens"):
            if getattr(self, name) is not None:
                _require_count(name, getattr(self, name))
        require(0 < self.minutes < math.inf, option("minutes"), "be finite and > 0", self.minutes)
        require(
            self.minutes <= _TEN_YEARS, option("minutes"), f"be <= {_TEN_YEARS:,}", self.minutes, "that is ten years"
        )
        require(0 <= self.seed < 2**63, option("seed"), "be in [0, 2^63)", self.seed)
        require(_is_text(self.prompt or ""), option("prompt"), "be UTF-8", repr(self.prompt))
        require(
            self.init is None or self.data.tokenizer is None,
            option("data.tokenizer"),
            f"be left out where {option('init')} gives one",
            self.data.tokenizer,
        )
        self.check_ranks()
        self.optimizer.check(self.beginning)
        self._check_fine_tuning()
        self.mtp.check(init=self.init, length=self.model.max_seq_len)
        rate, rule = self.optimizer.mtp_rate, f"come with {option('mtp.depth')}"
        alone = rate is not None and not self.mtp.any
        require(not alone, option("optimizer.mtp_rate"), rule, f"{rate} alone", f"add {option('mtp.depth', 1)}")
        require(0 <= self.label_smoothing < 1, option("label_smoothing"), "be in [0, 1)", self.label_smoothing)
        require(0 <= self.z_loss < math.inf, option("z_loss"), "be finite and >= 0", self.z_loss)
        if self.chat.template_arguments != "{}":
            from lmhead.data.labelling.recipe import template_arguments

            template_arguments(self.chat.template_arguments)  # refused even where no template is rendered
        if self.chat.columns is not None:
            self.data.source(self.chat.columns)  # which checks them
            require(
                bool(self.data.paths),
                option("chat.columns"),
                f"come with {option('data.paths')}",
                self.chat.columns,
                "name the data",
            )
        share = self.optimizer.share_of_decay()
        require(
            not self.average or 0 < share < 1,
            option("optimizer.decay_share"),
            f"be in (0, 1) with {option('average')}, which is over it",
            share,
            f"give one, as {option('optimizer.decay_share', 0.3)}",
        )

    def check_ranks(self) -> None:
        """Refuse what no ranks can be started with.

        Raises:
            ArgumentError: no such number of them, or no such time-out.
        """
        _require_count("nproc", self.nproc)
        require(0 < self.timeout <= 86_400, option("timeout"), "be > 0 and at most a day, 86,400", self.timeout)

    def _check_fine_tuning(self) -> None:
        self.lora.check()
        both = self.lora.rank is not None and self.mtp.frozen and self.quantize is None
        alone = f"be left out with {option('mtp.frozen', True)}, which trains nothing but the modules"
        require(not both, option("lora.rank"), alone, self.lora.rank)
        if isinstance(self.model, PretrainedModel):
            self.model.check()
        remedy = f"give {option('init')}, or leave {{}} out"
        for name, on in (("lora.rank", self.lora.rank), ("gradient_checkpointing", self.gradient_checkpointing)):
            rule = f"come with {option('init')}, a model that transformers loads"
            require(not on or self.init is not None, option(name), rule, f"{on} alone", remedy.format(option(name)))
        require(
            self.quantize is None or self.lora.rank is not None,
            option("quantize"),
            f"come with {option('lora.rank')}",
            f"{self.quantize} alone",
            f"weights of so few bits cannot be trained, adapters beside them can: add {option('lora.rank', 16)}",
        )


def _require_count(name: str, count: int) -> None:
    require(count >= 1, option(name), "be >= 1", count)
    require(count < 2**31, option(name), "be < 2^31", count)


def restyled(model: GPTConfig, style: Literal["course", "modern"]) -> GPTConfig:
    """A model of the same sizes in another style, without the options that only the first one has."""
    if style == model.style:
        return model
    sizes = ("vocab_size", "embed_dim", "num_heads", "num_layers", "max_seq_len", "dropout")
    return GPTConfig(style=style, **{name: getattr(model, name) for name in sizes})


def tied(model: GPTConfig) -> GPTConfig:
    """The model with the embedding as its head, without the options that need a head of its own."""
    if model.tie_weights:
        return model
    # An embedding of standard deviation 1 would make logits of the size of sqrt(D): a tied one is small.
    return replace(model, tie_weights=True, norm_embedding=False, zero_init_head=False, embedding_std=None)


def _is_text(text: str) -> bool:
    """False where an argument held bytes that are not UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def field_names(kind: type = TrainConfig, prefix: str = "") -> list[str]:
    """Dotted names of every field, as they stand in flags and in YAML: `rows`, `model.width`, ..."""
    names = []
    for item in dataclasses.fields(kind):
        if (group := group_of(item.type)) is not None:
            names += field_names(group, f"{prefix}{item.name}.")
        else:
            names.append(prefix + item.name)
    return names


def group_of(annotation: Any) -> type | None:
    """The dataclass that a field holds, of several the first; None where it holds a value."""
    kinds = typing.get_args(annotation) if typing.get_origin(annotation) is types.UnionType else (annotation,)
    return next((kind for kind in kinds if dataclasses.is_dataclass(kind) and isinstance(kind, type)), None)


def to_yaml(config: TrainConfig) -> str:
    """The config as YAML; `read_yaml` gives it back."""
    tree = dataclasses.asdict(config)
    tree["track"] = None if config.track is None else list(config.track)
    for group in ("data", "lora", "mtp"):
        lists = {name: list(value) for name, value in tree[group].items() if isinstance(value, tuple)}
        tree[group] |= lists
    return dump_yaml(tree)


def read_yaml(path: Path, default: TrainConfig | None = None) -> TrainConfig:
    """The config in a YAML file; fields that it does not name are those of `default`.

    Raises:
        InputError: no such file, not YAML, an unknown field (the nearest is named) or a value of another type.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"no such config file: {path}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not YAML: it is not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise InputError(f"cannot read the config {path}: {error.strerror}") from None
    return config_of(text, source=str(path), default=default)


def config_of(text: str, *, source: str, default: TrainConfig | None = None) -> TrainConfig:
    """`read_yaml` of a text; errors name its source."""
    try:
        tree = load_yaml(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    return typing.cast(TrainConfig, _changed(default or TrainConfig(), {} if tree is None else tree, source, ""))


def _changed(default: Any, tree: object, source: str, prefix: str) -> object:
    """The dataclass `default` with the fields that the mapping names."""
    if not isinstance(tree, dict):
        what = prefix.rstrip(".") or "the file"
        raise InputError(f"{source}: {what} must be a mapping of fields, got {reprlib.repr(tree)}")
    if isinstance(default, GPTConfig) and tree.get("style") == "pretrained":
        default = PretrainedModel()
    known = {item.name: item.type for item in dataclasses.fields(default)}
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(default, PretrainedModel) and f"{prefix}{name}" in field_names() and name not in known:
            refuse_size(name, value)
        if name not in known:
            raise InputError(f"{source}: unknown field {prefix}{name}{nearest(f'{prefix}{name}', field_names())}")
        if group_of(known[name]) is not None:
            values[name] = _changed(getattr(default, name), value, source, f"{prefix}{name}.")
        else:
            values[name] = value_of(known[name], value, f"{source}: {prefix}{name}")
    if isinstance(default, GPTConfig) and "style" in values:
        default = restyled(default, values["style"])
    if isinstance(default, GPTConfig) and values.get("tie_weights") is True:
        default = tied(default)
    if isinstance(default, GPTConfig):
        values |= following_widths(default, values)
    return dataclasses.replace(default, **values)


def nearest(name: str, names: list[str]) -> str:
    """ ", did you mean X?" for the known name nearest to `name`, or nothing."""
    leaves = {known.rsplit(".", 1)[-1]: known for known in names}
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6) or [
        leaves[leaf] for leaf in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(leaves), n=1, cutoff=0.6)
    ]
    return f", did you mean {close[0]}?" if close else ""


def refuse_size(name: str, value: object) -> typing.NoReturn:
    """Raise ArgumentError: a field of the model is given, and a model that transformers loads is what it is."""
    said = option(f"model.{name}")
    raise ArgumentError(
        f"{said} must be left out where {option('init')} is no decoder of this library, got {value}: of such a model "
        f"{option(f'model.{MAY_BE_SAID[0]}')} alone may be said"
    )
