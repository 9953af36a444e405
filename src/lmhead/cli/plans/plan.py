"""The plan of a run in a few lines, before it starts, and its result in two, after it."""

from collections.abc import Iterator
from pathlib import Path

import torch

from lmhead.cli.console import clock, size
from lmhead.cli.plans.multi_token_plan import further_tokens, multi_token_lines
from lmhead.cli.plans.pretrained_plan import pretrained_flops, pretrained_lines, pretrained_memory
from lmhead.cli.plans.rank_plan import rank_lines, require_rank_memory
from lmhead.data.sets.data_memory import DataMemory, data_bytes
from lmhead.errors import ArgumentError
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.models.config import GPTConfig
from lmhead.models.device import choose_device, choose_precision, memory_bytes, pass_seconds, product_rate
from lmhead.models.estimate import FurtherTokens, flop_count, memory_count, parameter_count
from lmhead.options import option
from lmhead.shown import shell_word
from lmhead.training.best import Best
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.loop import Outcome
from lmhead.training.optimizers.optimizer import schedule
from lmhead.training.setup import Ready
from lmhead.training.xz import xz_bits

# A step is its products, some passes over everything that is kept for the backward, and some over every parameter:
# fitted to five models of 0.3 to 77 million parameters on two cores, all within a fifth but the smallest (half).
_PRODUCTS, _PASSES_PER_ACTIVATION, _PASSES_PER_PARAMETER = 1.15, 16, 41
_LOOKED_AT = 10_000  # steps of a schedule


def model_lines(model: GPTConfig, mtp: FurtherTokens | None = None) -> Iterator[str]:
    """Parameters by part, and the head's share of the work."""
    count = parameter_count(model, mtp)
    norms = count.norms + count.positions
    yield (
        f"model: {count.total:,} parameters: embedding {count.embedding:,}, attention {count.attention:,}, "
        f"mlp {count.mlp:,}, norms and positions {norms:,}, head {f'{count.head:,}' if count.head else 'tied'}"
        + ("" if mtp is None else f", mtp {count.mtp:,}")
    )
    flops = flop_count(model, mtp=mtp)
    yield f"work: {flops.training / 1e6:.1f} MFLOP a token, the head's share {flops.head_share:.0%}"


def width_line(model: GPTConfig) -> str:
    """The sizes that were given, and those that followed from them."""
    heads = f"{model.num_heads} head{'s' if model.num_heads > 1 else ''} of {model.head_width}"
    shared = f" ({model.kv_heads} of keys and values)" if model.kv_heads < model.num_heads else ""
    return (
        f"width: {model.embed_dim:,} in {heads}{shared}, mlp {model.mlp_width:,}, "
        f"{model.num_layers} layer{'s' if model.num_layers > 1 else ''}, rows of {model.max_seq_len:,} tokens"
    )


def rate_line(config: TrainConfig) -> str:
    """The peaks of the rates, and what the schedule makes of them."""
    optimizer = config.resolved().optimizer
    rates = ", ".join(f"{kind} {rate:.4g}" for kind, rate in optimizer.rates().items())
    if (modules := optimizer.module_rates()) is not None:
        rates += "; of the modules " + ", ".join(f"{kind} {rate:.4g}" for kind, rate in modules.items())
    scaled = "" if optimizer.lr is None else f", scaled by --lr {optimizer.lr:g}"
    share = optimizer.share_of_decay()
    shape = "constant" if optimizer.schedule == "constant" else f"{optimizer.schedule} decay over the last {share:.0%}"
    warmup = f"warm-up of {optimizer.warmup_steps:,} steps"
    averaged = f"; weights averaged over the last {share:.0%}" if config.average else ""
    peak = 1.0 if config.steps is None else _peak_factor(config.steps, optimizer)
    short = "" if peak == 1.0 else f"; a run of {config.steps:,} steps gets no rate beyond {peak:.0%} of these"
    return f"rates: {rates}{scaled}; {warmup}; {shape}{averaged}{short}"


def _peak_factor(steps: int, optimizer: OptimizerConfig) -> float:
    """The largest factor that the rates get; below 1 where they fall before the warm-up is done."""
    warm = min(optimizer.warmup_steps, steps)
    looked_at = {*range(0, warm, max(1, warm // _LOOKED_AT)), max(0, warm - 1)}
    return max(schedule(step, steps, optimizer) for step in looked_at)


def memory_of(config: TrainConfig, dtype: torch.dtype) -> dict[str, int]:
    """What training takes, by what it is for; of another model than this library's decoder without activations."""
    if isinstance(config.model, PretrainedModel):
        return pretrained_memory(config, config.model, dtype)
    count = memory_count(
        config.model,
        rows=config.rows,
        optimizer=config.optimizer.name,
        compute_bytes=dtype.itemsize,
        mtp=further_tokens(config),
    )
    parts = {name: getattr(count, name) for name in ("weights", "gradients", "optimizer", "activations")}
    # the mean, and the weights that it takes the place of in an evaluation
    return parts | ({"average": 2 * count.gradients} if config.average else {})


def require_memory(config: TrainConfig, *, ranks: int = 1, on_host: int = 1) -> None:
    """Refuse a run that the machine cannot hold, before anything is read.

    Args:
        on_host: so many of the ranks are on this machine.

    Raises:
        ArgumentError: the estimate is larger than the device's memory.
    """
    device = choose_device(config.device)
    there = memory_bytes(device)
    data = data_bytes(config.data, vocab_size=config.model.vocab_size)
    host = memory_bytes(torch.device("cpu"))
    if data is not None and host is not None:
        _require_memory_of_data(data, host)
    if ranks > 1:
        require_rank_memory(config, ranks, on_host=on_host)
        return
    needed = sum(memory_of(config, choose_precision(config.precision, device)).values())
    if data is not None and host is not None:
        needed += data.kept if device.type == "cpu" else 0
    if there is not None and needed > there:
        raise ArgumentError(
            f"the run must fit into the memory of {device}, {size(there)}, got an estimate of {size(needed)}: "
            f"{_smaller(config)}"
        )


def _smaller(config: TrainConfig) -> str:
    """What makes a run smaller."""
    if not isinstance(config.model, PretrainedModel):
        return "lower --rows (and raise --accumulate), or take a smaller model"
    if config.lora.rank is None:
        return f"train adapters beside its weights ({option('lora.rank', 16)}), or take a smaller model"
    if config.quantize is None:
        return f"hold the weights in fewer bits ({option('quantize', '4bit')}), or take a smaller model"
    return "take a smaller model"


def _require_memory_of_data(data: DataMemory, there: int) -> None:
    if data.reading > there:
        raise ArgumentError(
            f"the data must be read in the machine's memory, {size(there)}, got an estimate of {size(data.reading)}: "
            "give a part of the data"
        )


def memory_line(config: TrainConfig, dtype: torch.dtype, *, ranks: int = 1) -> str:
    """What training takes, data included, and what it does not; what reading the data takes before."""
    parts = memory_of(config, dtype)
    data = data_bytes(config.data, vocab_size=config.model.vocab_size)
    if data is not None:
        parts["data"] = data.kept
    listed = ", ".join(f"{name} {size(count)}" for name, count in parts.items())
    reading = "" if data is None else f"; reading the data, before: at most {size(data.reading)}"
    unknown = "" if "activations" in parts else ", and activations, which nobody knows before"
    avoided = 4 * config.rows * config.model.max_seq_len * config.model.vocab_size
    of = "" if ranks == 1 else " of one process alone"
    return (
        f"memory{of}: {size(sum(parts.values()))}: {listed}{unknown}{reading}; "
        f"logits not materialised: {size(avoided)} a copy"
    )


def seconds_per_step(config: TrainConfig, device: torch.device, dtype: torch.dtype) -> float:
    """An estimate from the rates of a bare product of about the model's size and of an element-wise pass, taken now.

    Of another model than this library's decoder the products alone.
    """
    model = config.model
    tokens = config.rows * model.max_seq_len
    if isinstance(model, PretrainedModel):
        rate = product_rate(device, dtype, rows=min(tokens, 4096), width=min(model.width, 1024))
        return pretrained_flops(config, model) * tokens * config.accumulate / rate
    rate = product_rate(device, dtype, rows=min(tokens, 4096), width=min(model.embed_dim, 1024))
    mtp = further_tokens(config)
    memory = memory_count(model, rows=config.rows, compute_bytes=dtype.itemsize, mtp=mtp)
    kept, trained = memory.activations / dtype.itemsize, memory.gradients / 4
    products = _PRODUCTS * flop_count(model, mtp=mtp).training * tokens / rate
    passes = _PASSES_PER_ACTIVATION * kept * config.accumulate + _PASSES_PER_PARAMETER * trained
    return products * config.accumulate + passes * pass_seconds(device)


def time_line(config: TrainConfig, device: torch.device, dtype: torch.dtype, *, ranks: int = 1) -> str:
    """How many steps, how many tokens, how long; on ranks without what they send one another."""
    per_step = seconds_per_step(config, device, dtype) / ranks
    tokens = config.rows * config.model.max_seq_len * config.accumulate
    steps = config.steps if config.steps is not None else max(1, int(config.minutes * 60 / per_step))
    roughly = "" if config.steps is not None else "about "
    least = "more than" if isinstance(config.model, PretrainedModel) else "about"
    on = device if ranks == 1 else f"{ranks:,} x {device.type}"
    until = (
        "" if config.steps is not None else f"; {config.minutes:g} minutes in all, the steps are fixed after a dozen"
    )
    return (
        f"time: {roughly}{steps:,} steps of {tokens:,} tokens, {roughly}{steps * tokens:,} tokens, "
        f"{least} {clock(steps * per_step)} of training on {on} in {str(dtype).removeprefix('torch.')}{until}"
    )


def describe(config: TrainConfig, ready: Ready) -> Iterator[str]:
    """The plan: model, work, rates, memory, time, folder."""
    yield from plan_lines(config, ready.device, ready.dtype, ranks=ready.ranks.size)
    yield f"run: {config.out}"


def plan_lines(config: TrainConfig, device: torch.device, dtype: torch.dtype, *, ranks: int = 1) -> Iterator[str]:
    """What is known before any data are read."""
    yield from work_lines(config)
    yield rate_line(config)
    if ranks > 1:
        yield from rank_lines(config, ranks)
    yield memory_line(config, dtype, ranks=ranks)
    yield time_line(config, device, dtype, ranks=ranks)


def work_lines(config: TrainConfig) -> Iterator[str]:
    """The model, its parameters and its work, whatever machine trains it."""
    if isinstance(config.model, PretrainedModel):
        yield from pretrained_lines(config, config.model)
    else:
        yield from model_lines(config.model, further_tokens(config))
        yield width_line(config.model)
    yield from multi_token_lines(config)


def describe_result(outcome: Outcome, ready: Ready, out: Path) -> Iterator[str]:
    """What it came to, of text beside what xz needs for the same; where to look."""
    result = outcome.evaluation
    assert result is not None
    took = f"after {outcome.step:,} steps in {clock(outcome.seconds)}"
    if ready.held_out.text is not None:
        yield f"{_text_result(result, ready.held_out.text.encode())}, {took}"
        prompt = ready.prompts[0].text(ready.tokenizer.backend, [])
        flag = f"--prompt{'=' if prompt.startswith('--') else ' '}{shell_word(prompt)}"
        hint = f"lmhead sample {shell_word(str(out))} {flag}"
    else:
        yield (
            f"{result.exact:,} of {result.answers:,} held-out answers exact ({result.exact / result.answers:.1%}), "
            f"{result.nll:.4f} nats a token, {took}"
        )
        hint = f"lmhead sample {shell_word(str(out))} --chat"
    if result.decoded_length is not None:
        yield (
            f"multi-token prediction: {result.decoded_length:.2f} tokens a forward of greedy decoding; try: "
            f"lmhead sample {shell_word(str(out))} --speculate"
        )
    if outcome.best is not None:
        yield _best_line(outcome.best, out)
    yield f"{out}: log.jsonl, checkpoints/step-{outcome.step}; try: {hint}"


def _text_result(result: Evaluation, text: bytes) -> str:
    if result.bits_per_byte is None:
        return f"{result.nll:.4f} nats a token on {result.tokens:,} held-out tokens (no bits per byte)"
    packed = xz_bits(text)
    beside = f"xz -9e: {packed:.4f}" if isinstance(packed, float) else f"xz -9e left out: {packed}"
    return f"{result.bits_per_byte:.4f} bits per byte on {len(text):,} held-out bytes ({beside})"


def _best_line(best: Best, out: Path) -> str:
    figure = f"{best.nll:.4f} nats a token" if best.bits_per_byte is None else f"{best.bits_per_byte:.4f} bits per byte"
    return (
        f"best of the evaluations along the way: step {best.step:,}, {figure} of a part; kept in "
        f"{out}/checkpoints/step-{best.step}: lmhead sample {shell_word(str(out))} --step {best.step}"
    )


def describe_stop(outcome: Outcome, out: Path) -> str:
    """What a run that was stopped has kept, and how it goes on."""
    if outcome.saved is None:
        kept = "before anything was saved"
    elif outcome.saved == outcome.step:
        kept = f"after step {outcome.step:,}, saved"
    else:
        kept = f"at once, after step {outcome.step:,}; step {outcome.saved:,} is saved"
    return f"stopped by {outcome.stopped_by} {kept}; go on with: lmhead train --resume {shell_word(str(out))}"
