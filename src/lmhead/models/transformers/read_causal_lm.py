"""Causal language models as transformers loads them: a folder or a name on the Hub -> a model with all of its weights.

Not here: adapters (lora.py), the patch and what a run needs of the model (pretrained_causal_lm.py).
"""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from lmhead.errors import InputError, require_choice
from lmhead.models.transformers.quiet import quiet_transformers
from lmhead.options import option
from lmhead.packages import require_package
from lmhead.shown import shown

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Quantization = Literal["4bit", "8bit"]
_REPACKS: Final = "support_avx512bf16_for_cpu"  # of bitsandbytes' Linear4bit


def read_causal_lm(
    source: str,
    *,
    dtype: torch.dtype | None,
    device: torch.device | str,
    quantize: Quantization | None,
    attn_implementation: str | None,
) -> "PreTrainedModel":
    """The model in the folder or of the name `source`, on `device`, in evaluation mode.

    Args:
        dtype: of its weights; None: as they are stored.
        quantize: the linear layers but the head, by bitsandbytes.
        attn_implementation: None: sdpa where the model has it.

    Raises:
        InputError: a package is missing, there is no such model, or weights are missing.
    """
    require_package("transformers", "a model of transformers")
    if quantize is not None:
        require_choice(option("quantize"), quantize, ("4bit", "8bit"))
        require_package("accelerate", f"{option('quantize', quantize)}")
        require_package("bitsandbytes", f"{option('quantize', quantize)}")
    from transformers import AutoModelForCausalLM

    config = config_of(source)
    options: dict[str, Any] = {"dtype": "auto" if dtype is None else dtype}
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    if quantize is not None:
        options |= {"quantization_config": _quantization(quantize, dtype), "device_map": {"": torch.device(device)}}
    with quiet_transformers():
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                source, config=config, trust_remote_code=False, output_loading_info=True, **options
            )
        except load_failures() as error:
            raise InputError(f"{shown(source)} cannot be loaded: {_reason(error)}{_remedy(error)}") from error
    model, found = loaded
    _require_all_weights(source, found)
    _keep_differentiable(model)
    return model if quantize is not None else model.to(device)  # type: ignore[no-any-return]


def located(source: str | Path) -> str:
    """A folder's absolute path, or a name on the Hub as it is.

    Raises:
        InputError: a path where there is no folder.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    name = str(source)
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or "\\" in name or folder.exists():
        raise InputError(f"a model must be a folder or a name on the Hub, got {shown(name)}: there is no such folder")
    return name


def config_of(source: str) -> "PreTrainedConfig":
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        except load_failures() as error:
            raise InputError(_no_config(source, error)) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(
            f"{shown(source)} must be a causal language model, got one of type {shown(config.model_type)}: "
            "AutoModelForCausalLM has none of that type"
        )
    return config  # type: ignore[no-any-return]


def _no_config(source: str, error: BaseException) -> str:
    """Why there is no config, in one line."""
    said = str(error)
    if "trust_remote_code" in said:
        return (
            f"{shown(source)} must be of a type that transformers has, got one with code of its own: code that comes "
            "with weights is not run here; take a model whose type is part of transformers"
        )
    if "does not recognize this architecture" in said:
        import transformers

        return (
            f"{shown(source)} must be of a type that transformers {transformers.__version__} has, got another: "
            "pip install -U transformers"
        )
    folder = Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        return f"{shown(source)} must hold a model, got no config.json in it"
    if not folder.is_dir() and isinstance(error, OSError):
        return (
            f"{shown(source)} must be a folder, or the name of a model that can be fetched from the Hub, got neither: "
            f"{first_line(error)}"
        )
    return f"{shown(source)} must hold a config that transformers reads, got {first_line(error)}"


def load_failures() -> tuple[type[Exception], ...]:
    """What transformers raises for files that are missing or broken, and for what does not fit together."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return (
        *(OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError),
        *(pickle.PickleError, EOFError),
        *(AssertionError, ArithmeticError),  # torch's layers of sizes that cannot be, out of a config of another model
        *(SafetensorError, StrictDataclassError),
    )


def _reason(error: BaseException) -> str:
    """What is wrong, in one line; torch's of a pickle is about running code that may be in it."""
    if isinstance(error, pickle.PickleError):
        return "weights that torch pickled must be whole, and of tensors alone"
    return first_line(error)


def _remedy(error: BaseException) -> str:
    """What to do about weights that cannot be read; of everything else the error tells, memory that is full say."""
    from safetensors import SafetensorError

    if "not valid UTF-8" in str(error):  # which safetensors says of a path
        return "; give the folder another name"
    return (
        "; fetch or save it anew"
        if isinstance(error, SafetensorError | pickle.PickleError | EOFError | FileNotFoundError)
        else ""
    )


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return shown(f"{said} {lines[1]}" if said.endswith(":") and len(lines) > 1 else said)[:300]


def _quantization(quantize: Quantization, dtype: torch.dtype | None) -> Any:
    """NF4 with quantised scales (Dettmers et al., "QLoRA", 2023), or LLM.int8()."""
    from transformers import BitsAndBytesConfig

    if quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype is None else dtype,
    )


def _keep_differentiable(model: "PreTrainedModel") -> None:
    """Stop bitsandbytes from repacking 4-bit weights at the first forward in evaluation mode, for a product of CPUs.

    That product has no gradient (bitsandbytes 0.50), and training after an evaluation would lose those of all adapters
    below, without an error.
    """
    for module in model.modules():
        if hasattr(module, _REPACKS):
            setattr(module, _REPACKS, False)


def _require_all_weights(source: str, found: dict[str, Any]) -> None:
    """Refuse a model of which a part would be random."""
    missing = sorted(found.get("missing_keys") or ())
    if missing:
        raise InputError(
            f"{shown(source)} must hold all weights of its config, got none for {shown(missing[0])}"
            + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
            + ": they would be random; fetch or save the model anew"
        )
