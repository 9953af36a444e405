"""The chat template for tokenizers that bring none: ChatML, with tools, calls and reasoning.

    <|im_start|>user
    Hi<|im_end|>
    <|im_start|>assistant
    <think>
    A greeting.
    </think>

    Hello<|im_end|>

- Everything is rendered: reasoning is kept in every turn, because what is dropped could not be learnt, and a turn looks
  alike wherever it stands. A turn without reasoning has no tags.
- Nothing is trimmed, nothing depends on the date, and no text is put in that is not in the data but for the sentences
  that explain tools.
- Every message has its own role as its header, tools' answers and developers too.
- Tools are listed in the system's message; where there is none, in one of their own.
"""

from typing import Final

from tokenizers import AddedToken, Tokenizer

CHATML_TOKENS: Final = ("<|im_start|>", "<|im_end|>")  # each turn opens with the first and ends with the second

CHATML: Final = """\
{%- macro text(content) %}
    {%- if content is iterable and content is not mapping %}
        {%- for block in content %}
            {%- if block is string %}
                {{- block }}
            {%- elif block.text is string %}
                {{- block.text }}
            {%- else %}
                {{- raise_exception('content must be text, got a block of type ' ~ block.type) }}
            {%- endif %}
        {%- endfor %}
    {%- elif content is not none and content is defined %}
        {{- raise_exception('content must be text or a list of blocks of text') }}
    {%- endif %}
{%- endmacro %}
{%- macro list_of_tools() %}
    {{- '# Tools\\n\\nThese functions may be called:\\n<tools>\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}
        {{- '\\n' }}
    {%- endfor %}
    {{- '</tools>\\n\\nA call is one JSON object between tags:\\n' }}
    {{- '<tool_call>\\n{"name": "...", "arguments": {...}}\\n</tool_call>' }}
{%- endmacro %}
{%- if tools and (not messages or messages[0].role != 'system') %}
    {{- '<|im_start|>system\\n' }}
    {{- list_of_tools() }}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.role == 'assistant' and message.reasoning_content is string and message.reasoning_content %}
        {{- '<think>\\n' }}
        {{- message.reasoning_content }}
        {{- '\\n</think>\\n\\n' }}
    {%- endif %}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {{- text(message.content) }}
    {%- endif %}
    {%- if tools and loop.first and message.role == 'system' %}
        {{- '\\n\\n' }}
        {{- list_of_tools() }}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
        {%- if not loop.first or message.content %}
            {{- '\\n' }}
        {%- endif %}
        {%- set function = call.function or call %}
        {{- '<tool_call>\\n{"name": "' }}
        {{- function.name }}
        {{- '", "arguments": ' }}
        {%- if function.arguments is string %}
            {{- function.arguments }}
        {%- else %}
            {{- (function.arguments or {}) | tojson }}
        {%- endif %}
        {{- '}\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def with_chatml(backend: Tokenizer) -> Tokenizer:
    """A copy of the tokenizer in which the template's control tokens are special tokens.

    Example:
        >>> from tokenizers import Tokenizer, models
        >>> chatml = with_chatml(Tokenizer(models.WordLevel({"Hi": 0})))
        >>> chatml.encode("<|im_start|>Hi<|im_end|>").ids
        [1, 0, 2]
    """
    copy = Tokenizer.from_str(backend.to_str())
    copy.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CHATML_TOKENS])
    return copy


def missing_tokens(backend: Tokenizer) -> tuple[str, ...]:
    """The control tokens that `with_chatml` gives new ids: so many rows the model's embedding has to gain."""
    return tuple(token for token in CHATML_TOKENS if backend.token_to_id(token) is None)
