"""Token table, an Example as text: a line for each token, with what is learnt there or why nothing is."""

from collections.abc import Callable

from lmhead.errors import IGNORE_INDEX
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason


def token_table(example: Example, decode: Callable[[list[int]], str]) -> str:
    """Lines of position, token, id, label, and `learns` or the reason why the token is masked.

    Args:
        decode: the tokenizer's, from ids to text, control tokens included.

    Example:
        >>> print(token_table(Example.of([7, 8], trained=[False, True], reason=Reason.USER), str))
        position  token    id  label  learns, or why not
               0  '[7]'     7   -100  user
               1  '[8]'     8      8  learns
    """
    tokens = [repr(decode([number])) for number in example.ids.tolist()]
    width = max([len("token"), *map(len, tokens)])
    lines = [f"position  {'token':<{width}}  {'id':>4}  {'label':>5}  learns, or why not"]
    columns = zip(tokens, example.ids.tolist(), example.labels().tolist(), example.reason.tolist(), strict=True)
    for position, (token, number, label, reason) in enumerate(columns):
        why = "learns" if label != IGNORE_INDEX else Reason(reason).name.lower().replace("_", " ")
        lines.append(f"{position:>8}  {token:<{width}}  {number:>4}  {label:>5}  {why}")
    return "\n".join(lines)
