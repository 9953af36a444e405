"""What a config.json says of the multi-token modules beside its model.

    "num_nextn_predict_layers": 1    read by engines: of the families that they draft from
    "lmhead_mtp": {...}              all that this library has to know: the kind, the depth, the style

A folder without the second, of a family, has that family's sequential modules.
"""

from dataclasses import dataclass
from typing import Any, Final, cast, final

from lmhead.errors import ArgumentError, InputError, require_choice
from lmhead.models.multi_token.style import FAMILIES, KINDS, Kind, MultiTokenStyle
from lmhead.models.transformers.formats.config_fields import ConfigFields

FIELD: Final = "lmhead_mtp"
COUNT: Final = "num_nextn_predict_layers"
LACKING: Final = (  # the remedy where weights lack the modules that config.json declares
    f"take the folder that lmhead wrote, or, for the model without them, remove {FIELD} from config.json and set "
    f"{COUNT} to 0"
)
_CHOICES: Final = ("order", "main", "chain", "denominator")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MultiTokenDeclaration:
    """The modules, or heads, that a checkpoint has."""

    kind: Kind
    depth: int
    style: MultiTokenStyle  # family: whose names the weights have, None for this library's own

    @property
    def modules(self) -> int:
        """How many the checkpoint holds."""
        return 1 if self.kind == "recurrent" else self.depth

    def fields(self) -> dict[str, Any]:
        """As it stands in config.json."""
        style = {name: getattr(self.style, name) for name in (*_CHOICES, "zero_first")}
        return {FIELD: {"family": self.style.family, "kind": self.kind, "depth": self.depth, **style}}


def declaration_of(config: dict[str, Any]) -> MultiTokenDeclaration | None:
    """What config.json declares; None where it declares no modules.

    Raises:
        InputError: it says what cannot be.
    """
    try:
        own = ConfigFields(config).object(FIELD)
        count = ConfigFields(config).size(COUNT, optional=True) if config.get(COUNT) != 0 else None
        if own:
            return _own(own)
        if count is None:
            return None
        family = _family(config)
        style = MultiTokenStyle() if family is None else FAMILIES[family]
        return MultiTokenDeclaration(kind="sequential", depth=count, style=style)
    except ArgumentError as error:
        raise InputError(f"config.json must declare modules that there can be, got {error}") from error


def _own(fields: ConfigFields) -> MultiTokenDeclaration:
    choices: dict[str, Any] = {name: fields.word(name) for name in _CHOICES}
    family, kind, depth = fields.word("family", ""), fields.word("kind"), fields.size("depth")
    require_choice("kind", kind, KINDS)
    assert depth is not None
    style = MultiTokenStyle(family=family or None, zero_first=fields.flag("zero_first", default=False), **choices)
    return MultiTokenDeclaration(kind=cast(Kind, kind), depth=depth, style=style)


def _family(config: dict[str, Any]) -> str | None:
    """The family that a model of transformers has modules of; None for the others."""
    kind = config.get("model_type")
    if kind == "qwen2" and config.get("architectures") == ["MiMoForCausalLM"]:
        return "mimo"
    return kind if kind in ("mellum", "glm4_moe") else None
