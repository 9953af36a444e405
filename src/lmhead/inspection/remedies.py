"""Remedies that several findings have in common: what to do, worded once."""

from typing import Final

OWN_PADDING: Final = "give padding an id of its own"
RENDERED: Final = "encode what a template renders with add_special_tokens=False"  # two beginnings of a sequence
STOP_AT_BOTH: Final = "let generation stop at both: eos_token_id of generation_config.json may be a list"
