# ruff: noqa: E501 (templates)
"""Chat templates that write the end or the beginning of a turn where it is hard to tell, with what is learnt.

Each is the smallest of a kind that real templates have: an end that is left out behind the last turn, a generation prompt
that always stands there, a header that differs from the prompt's, words of the template's own before every text.

A conversation is a word: U and V are questions, A and B answers, E an answer without text, 4 one of a single character,
C a call, R its result, S a system's prompt, T an answer with a thought. `learnt` holds what is learnt of each, turn for turn,
or the kind of the refusal.
"""

from dataclasses import dataclass

CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Lima"}}}
MESSAGES = {
    "U": {"role": "user", "content": "Ask one"},
    "V": {"role": "user", "content": "Then three"},
    "A": {"role": "assistant", "content": "Reply two"},
    "B": {"role": "assistant", "content": "Answer four"},
    "E": {"role": "assistant", "content": ""},
    "4": {"role": "assistant", "content": "4"},
    "T": {"role": "assistant", "content": "<think>\nhm\n</think>\n\nReply two"},
    "C": {"role": "assistant", "content": "", "tool_calls": [CALL]},
    "R": {"role": "tool", "content": "18 degrees"},
    "S": {"role": "system", "content": "Be kind"},
}
REFUSED = ["refused: generation_prompt"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A template, its control tokens, and what is learnt of conversations."""

    source: str
    control: tuple[str, ...]
    learnt: dict[str, list[str]]
    stops: tuple[str, ...] = ()


def _alternating(source):
    return (
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
        "{% endif %}{% endfor %}" + source
    )


IM = ("<|im_start|>", "<|im_end|>")
_DEFAULT = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe nice<|im_end|>\n{% endif %}"
_OPEN_LAST = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% if not loop.last or add_generation_prompt %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_OPEN_LEARNT = {
    "UA": ["Reply two"],
    "UAVB": ["Reply two<|im_end|>", "Answer four"],
    "UABVA": ["Reply two<|im_end|>", "Answer four<|im_end|>", "Reply two"],
    "AVB": ["Reply two<|im_end|>", "Answer four"],
    "SUAVB": ["Reply two<|im_end|>", "Answer four"],
    "SAVB": ["Reply two<|im_end|>", "Answer four"],
}
_ALTERNATING_LEARNT = {key: _OPEN_LEARNT[key] for key in ("UA", "UAVB")}
_CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
_ALWAYS = _CHATML + "{{ '<|im_start|>assistant\n' }}"
_ALWAYS_LEARNT = {
    "UA": ["Reply two<|im_end|>"],
    "UAVB": ["Reply two<|im_end|>", "Answer four<|im_end|>"],
    "UABVA": ["Reply two<|im_end|>", "Answer four<|im_end|>", "Reply two<|im_end|>"],
    "AVB": ["Reply two<|im_end|>", "Answer four<|im_end|>"],
    "TVB": ["<think>\nhm\n</think>\n\nReply two<|im_end|>", "Answer four<|im_end|>"],
}
_NO_PROMPT = (
    "{% for m in messages %}{{ HEAD }}{{ m.content }}{% if loop.last and not add_generation_prompt %}</s>{% endif %}"
    "{% endfor %}"
)
_CALLS = (
    "{% for m in messages %}{{ '<S11>' + m.role + '\n' }}{% if m.tool_calls %}<TOOLCALL>{{ m.tool_calls[0].function.name }} "
    "{{ m.tool_calls[0].function.arguments.city }}</TOOLCALL>{{ LAST if loop.last else EARLIER }}"
    "{% else %}{{ m.content + '\n<S12>\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<S11>assistant\n' }}{% endif %}"
)
_PROSE = (
    "{% for m in messages %}{{ m.role | capitalize }}: PROSE{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}PROMPT{% endif %}"
)
_BOX = "Put your answer inside of a box. This is the problem: "
_PROSE_LEARNT = {
    "UA": ["Reply two"],
    "UAVB": ["Reply two", "Answer four"],
    "UABVA": ["Reply two", "Answer four", "Reply two"],
    "AVB": ["Reply two", "Answer four"],
    "UT": ["<think>\nhm\n</think>\n\nReply two"],
}
_BETWEEN = (
    "{% for m in messages %}{{ ('<U>' if m.role == 'user' else '<A>') + m.content }}"
    "{% if m.role == 'assistant' and not loop.last %}<E>{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1].role == 'user' %}<A>{% endif %}"
)
_BETWEEN_LEARNT = {
    "UAVB": ["Reply two<E>", "Answer four"],
    "UABVA": ["Reply two<E>", "Answer four<E>", "Reply two"],
    "AVB": ["Reply two<E>", "Answer four"],
}
_INSTRUCTIONS = (
    "{{ 'You code.\n' }}{% for m in messages %}{% if m.role == 'user' %}{{ '### Instruction:\n' + m.content + '\n' }}"
    "{% else %}{{ '### Response:\n' + m.content + '\nEND' }}{% endif %}{% endfor %}{{ '### Response:\n' }}"
)
_ROLES = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
_ROLES_CONTROL = ("<|user|>", "<|assistant|>", "<|system|>", "<|sys|>", "<|end|>")
_ROLES_LEARNT = {
    key: [text.replace("<|im_end|>", "<|end|>") for text in learnt] for key, learnt in _ALWAYS_LEARNT.items()
}
_GOES_ON = (
    "{% for m in messages %}{% if m.role == 'user' %}<|turn>user\n{{ m.content }}<turn|>\n{% elif m.role == 'tool' %}"
    "{{ m.content }}<tool_response|>{% else %}"
    "{% if loop.first or messages[loop.index0 - 1].role != 'tool' %}<|turn>model\n{% endif %}"
    "{% if m.tool_calls %}<|tool_call>{{ m.tool_calls[0].function.name }} {{ m.tool_calls[0].function.arguments.city }}<tool_call|><|tool_response>"
    "{% else %}{{ m.content }}<turn|>\n{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "{% if messages[-1].role != 'tool' %}<|turn>model\n{% endif %}<|channel>thought\n<channel|>{% endif %}"
)
_CALLED = "<|tool_call>get_weather Lima<tool_call|><|tool_response>"
_SPACES = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<U>' + m.content + '<A>' }}{% else %}{{ TEXT + m.content + '<E>' }}"
    "{% endif %}{% endfor %}{{ PROMPT }}"
)
_SOURCES = (
    "{% for m in messages %}{{ 'Source: ' + m.role + '\n\n ' + m.content + ' <step> ' }}{% endfor %}"
    "IF{{ 'Source: assistant\nDestination: user\n\n ' }}THEN"
)
_WRITES_TEXT_ONLY = (
    "{% for m in messages %}{{ '<U>' if m.role == 'user' else '<A>' }}{{ THOUGHT if m.role == 'assistant' else '' }}"
    "{% if m.content %}{{ '\n' + m.content }}{% endif %}<E>{% endfor %}{% if add_generation_prompt %}<A>{% endif %}"
)
_TURNS = ("<U>", "<A>", "<E>")
_GLM = (
    "{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{{ m.content }}{% elif m.role == 'tool' %}<|observation|>\n{{ m.content }}"
    "{% else %}<|assistant|>\n<think></think>\n{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments.city }}</tool_call>"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_GLM_CONTROL = ("<|user|>", "<|assistant|>", "<|observation|>", "<|endoftext|>")
_GLM_STOPS = ("<|endoftext|>", "<|user|>", "<|observation|>")
_NO_THOUGHT = "\n<think></think>\n"

KINDS = {
    # the end is left out behind the last turn
    "open last": Kind(source=_OPEN_LAST, control=IM, learnt=_OPEN_LEARNT),
    "open last, a default system prompt": Kind(source=_DEFAULT + _OPEN_LAST, control=IM, learnt=_OPEN_LEARNT),
    "open last, a preamble": Kind(source="You are nice.\n" + _OPEN_LAST, control=IM, learnt=_OPEN_LEARNT),
    "open last, a beginning and a preamble": Kind(
        source="{{ bos_token }}You are nice. " + _OPEN_LAST, control=(*IM, "<s>"), learnt=_OPEN_LEARNT
    ),
    "open last, a preamble that ends as turns do": Kind(
        source="{{ bos_token }}<|sys|>You are nice<|im_end|>\n" + _OPEN_LAST,
        control=(*IM, "<s>", "<|sys|>"),
        learnt=_OPEN_LEARNT,
    ),
    "open last, turns alternate": Kind(source=_alternating(_OPEN_LAST), control=IM, learnt=_ALTERNATING_LEARNT),
    "open last, turns alternate, a default system prompt": Kind(
        source=_alternating(_DEFAULT + _OPEN_LAST), control=IM, learnt=_ALTERNATING_LEARNT
    ),
    "open last, turns alternate, a preamble": Kind(
        source=_alternating("You are nice.\n" + _OPEN_LAST), control=IM, learnt=_ALTERNATING_LEARNT
    ),
    "an end between turns alone": Kind(source=_BETWEEN, control=_TURNS, learnt=_BETWEEN_LEARNT),
    "an end between turns alone, a beginning": Kind(
        source="{{ bos_token }}" + _BETWEEN, control=(*_TURNS, "<s>"), learnt=_BETWEEN_LEARNT
    ),
    "an end between turns alone, a preamble": Kind(
        source="You are nice. " + _BETWEEN, control=_TURNS, learnt=_BETWEEN_LEARNT
    ),
    "an end between turns alone, a preamble that ends as turns do": Kind(
        source="<S>Be nice<E>" + _BETWEEN, control=(*_TURNS, "<S>"), learnt=_BETWEEN_LEARNT
    ),
    # no generation prompt, though something changes where one is asked for
    "the end goes where a prompt is asked for": Kind(
        source=_NO_PROMPT.replace("HEAD", "('\n\n' if not loop.first else '') + m.role | capitalize + ': '"),
        control=("</s>",),
        learnt={"UA": REFUSED, "UAVB": REFUSED, "AVB": REFUSED},
    ),
    "a line break where a prompt is asked for": Kind(
        source=_NO_PROMPT.replace("HEAD", "'\n\n### ' + m.role | upper + ':\n'")
        + "{% if add_generation_prompt %}{{ '\n\n' }}{% endif %}",
        control=("</s>",),
        learnt={"UA": REFUSED, "UAVB": REFUSED},
    ),
    "ChatML with a line break for a prompt": Kind(
        source=_CHATML + "{% if add_generation_prompt %}{{ '\n' }}{% endif %}",
        control=IM,
        learnt={"UA": REFUSED, "UAVB": REFUSED},
    ),
    # a generation prompt that always stands there
    "always prompts": Kind(source=_ALWAYS, control=IM, learnt=_ALWAYS_LEARNT),
    "always prompts, a default system prompt": Kind(source=_DEFAULT + _ALWAYS, control=IM, learnt=_ALWAYS_LEARNT),
    "always prompts, a system prompt where there are messages": Kind(
        source="{% if messages %}<|im_start|>system\nBe nice<|im_end|>\n{% endif %}"
        + _ALWAYS.replace("{% endfor %}", "{% endfor %}{% if messages %}")
        + "{% endif %}",
        control=IM,
        learnt=_ALWAYS_LEARNT,
    ),
    "always prompts, a preamble": Kind(source="You are nice.\n" + _ALWAYS, control=IM, learnt=_ALWAYS_LEARNT),
    "always a part of the prompt": Kind(
        source=(
            "{% for m in messages %}{{ '<|S|>' + ('<|C|><|R|>' if m.role == 'assistant' else '<|U|>') + m.content + '<|E|>' }}"
            "{% endfor %}<|S|><|C|>{{ '<|R|>' if add_generation_prompt else '' }}"
        ),
        control=("<|S|>", "<|C|>", "<|R|>", "<|U|>", "<|E|>"),
        learnt={
            key: [text.replace("<|im_end|>", "<|E|>") for text in learnt] for key, learnt in _ALWAYS_LEARNT.items()
        },
    ),
    "always prompts, nothing ends a turn, a preamble": Kind(
        source="You are nice.\n{% for m in messages %}{{ '<|turn|>' + m.role + '\n' + m.content }}{% endfor %}{{ '<|turn|>assistant\n' }}",
        control=("<|turn|>",),
        learnt={"UA": REFUSED, "UAVB": REFUSED},
    ),
    "always prompts, headers that begin alike": Kind(
        source=_INSTRUCTIONS.replace("END", "<|EOT|>\n"),
        control=("<|EOT|>",),
        learnt={
            key: [text.replace("<|im_end|>", "\n<|EOT|>") for text in learnt] for key, learnt in _ALWAYS_LEARNT.items()
        },
    ),
    "always prompts, headers that begin alike, a word ends turns": Kind(
        source=_INSTRUCTIONS.replace("END", "END\n"),
        control=(),
        learnt={
            key: [text.replace("<|im_end|>", "\nEND") for text in learnt] for key, learnt in _ALWAYS_LEARNT.items()
        },
    ),
    "always prompts, headers that begin alike, nothing ends a turn": Kind(
        source=_INSTRUCTIONS.replace("END", ""),
        control=(),
        learnt={key: [text.replace("<|im_end|>", "") for text in learnt] for key, learnt in _ALWAYS_LEARNT.items()},
    ),
    "always prompts, headers that share nothing": Kind(source=_ROLES, control=_ROLES_CONTROL, learnt=_ROLES_LEARNT),
    "always prompts, headers that share nothing, a preamble": Kind(
        source="You are nice" + _ROLES, control=_ROLES_CONTROL, learnt=_ROLES_LEARNT
    ),
    "always prompts, a preamble that ends as turns do": Kind(
        source="<|sys|>You are nice<|end|>" + _ROLES, control=_ROLES_CONTROL, learnt={"UA": REFUSED, "UAVB": REFUSED}
    ),
    "no prompt, turns alternate": Kind(
        source=_alternating("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"),
        control=_ROLES_CONTROL,
        learnt={"UA": REFUSED, "UAVB": REFUSED},
    ),
    "always prompts, nothing ends a turn, headers of two tokens, a default system prompt": Kind(
        source=(
            "{% if messages[0].role != 'system' %}<|S|><|system|>Be nice{% endif %}"
            "{% for m in messages %}<|S|><|{{ m.role }}|>{{ m.content }}{% endfor %}<|S|><|assistant|>"
        ),
        control=(*_ROLES_CONTROL, "<|S|>"),
        learnt={"UA": ["Reply two"], "UAVB": ["Reply two", "Answer four"], "AVB": ["Reply two", "Answer four"]},
    ),
    "always prompts, an end of text behind": Kind(
        source=(
            "<|sys|>You are nice<|end|>{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
            "{% if not add_generation_prompt %}</s>{% endif %}"
        ),
        control=_ROLES_CONTROL,
        learnt={"UA": ["Reply two"], "UAVB": ["Reply two", "Answer four"]},
    ),
    "always prompts, another end where a turn is the last": Kind(
        source=(
            "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
            "{{ '<|return|>' if loop.last and m.role == 'assistant' else '<|end|>' }}{% endfor %}<|assistant|>"
        ),
        control=(*_ROLES_CONTROL, "<|return|>"),
        learnt={"UA": ["Reply two<|return|>"], "UAVB": ["Reply two<|end|>", "Answer four<|return|>"]},
    ),
    "two tokens end a turn, open last, turns alternate, a preamble": Kind(
        source=_alternating(
            "You are nice.\n{% for m in messages %}### {{ m.role | upper }}:\n{{ m.content }}"
            "{{ '<E><F>' if not loop.last else '' }}{% endfor %}"
            "{% if add_generation_prompt %}### ASSISTANT:\n{{ '' }}{% endif %}"
        ),
        control=("<E>", "<F>"),
        learnt={"UA": ["Reply two"], "UAVB": ["Reply two<E><F>", "Answer four"]},
    ),
    # the end of a call
    "white space before the end, where a call is not the last turn": Kind(
        source=_CALLS.replace("LAST", "'<S12>\n\n'").replace("EARLIER", "'\n<S12>\n'"),
        control=("<S11>", "<S12>"),
        learnt={
            "UC": ["<TOOLCALL>get_weather Lima</TOOLCALL><S12>"],
            "UCRA": ["<TOOLCALL>get_weather Lima</TOOLCALL>\n<S12>", "Reply two\n<S12>"],
            "UCRCRAVB": [
                *["<TOOLCALL>get_weather Lima</TOOLCALL>\n<S12>"] * 2,
                "Reply two\n<S12>",
                "Answer four\n<S12>",
            ],
        },
    ),
    "white space before the end, where a call is the last turn": Kind(
        source=_CALLS.replace("LAST", "' \n<S12>'").replace("EARLIER", "'<S12>\n'"),
        control=("<S11>", "<S12>"),
        learnt={
            "UC": ["<TOOLCALL>get_weather Lima</TOOLCALL> \n<S12>"],
            "UCRA": ["<TOOLCALL>get_weather Lima</TOOLCALL><S12>", "Reply two\n<S12>"],
        },
    ),
    # the template's own words before a text
    "words before every text": Kind(
        source=_PROSE.replace("PROSE", _BOX).replace("PROMPT", "Assistant: <think>"), control=(), learnt=_PROSE_LEARNT
    ),
    "a word before every text": Kind(
        source=_PROSE.replace("PROSE", "Answer: ").replace("PROMPT", "Assistant: <think>"),
        control=(),
        learnt=_PROSE_LEARNT,
    ),
    "words before every answer": Kind(
        source=_PROSE.replace("PROSE", "{{ 'I say to you: ' if m.role == 'assistant' else '' }}").replace(
            "PROMPT", "Assistant: <think>"
        ),
        control=(),
        learnt=_PROSE_LEARNT,
    ),
    "words before every text behind the whole prompt": Kind(
        source=_PROSE.replace("PROSE", _BOX).replace("PROMPT", "Assistant:"),
        control=(),
        learnt=dict.fromkeys(_PROSE_LEARNT, REFUSED),
    ),
    "words in a header that ends with a control token": Kind(
        source=(
            "{% for m in messages %}<|start|>{{ m.role }} to=user<|message|>{{ m.content }}<|eot|>{% endfor %}"
            "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
        ),
        control=("<|start|>", "<|message|>", "<|eot|>"),
        learnt={
            "UA": [" to=user<|message|>Reply two<|eot|>"],
            "UAVB": [" to=user<|message|>Reply two<|eot|>", " to=user<|message|>Answer four<|eot|>"],
        },
    ),
    # a system's prompt has to be the first message, and a question has to precede an answer
    "wants a question, and a system prompt at the beginning": Kind(
        source=(
            "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system first') }}{% endif %}"
            "{% endfor %}{% if messages | selectattr('role', 'equalto', 'user') | list | length == 0 %}"
            "{{ raise_exception('no question') }}{% endif %}"
            + _CHATML
            + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
        ),
        control=IM,
        learnt={
            "AVB": ["Reply two<|im_end|>", "Answer four<|im_end|>"],
            "SAVB": ["Reply two<|im_end|>", "Answer four<|im_end|>"],
            "SUAVB": ["Reply two<|im_end|>", "Answer four<|im_end|>"],
        },
    ),
    # a prompt that is not the header
    "an answer goes on behind a result, and the prompt thinks": Kind(
        source=_GOES_ON,
        control=("<|turn>", "<turn|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
        learnt={
            "UC": [_CALLED],
            "UCRA": [_CALLED, "Reply two<turn|>"],
            "UCRCRAVB": [_CALLED, _CALLED, "Reply two<turn|>", "Answer four<turn|>"],
        },
    ),
    "spaces for a line break": Kind(
        source=_SPACES.replace("TEXT", "'    '").replace("PROMPT", "'\n'"),
        control=_TURNS,
        learnt={
            "UA": ["    Reply two<E>"],
            "UAVB": ["    Reply two<E>", "    Answer four<E>"],
            "UABVA": ["    Reply two<E>", "Answer four<E>", "    Reply two<E>"],
        },
    ),
    "a line break for a space": Kind(
        source=_SPACES.replace("TEXT", "'\n'").replace("PROMPT", "' '"),
        control=_TURNS,
        learnt={"UA": ["\nReply two<E>"], "UAVB": ["\nReply two<E>", "\nAnswer four<E>"]},
    ),
    "nothing for a line break": Kind(
        source=_SPACES.replace("TEXT", "''").replace("PROMPT", "'\n'"),
        control=_TURNS,
        learnt={"UA": ["Reply two<E>"], "UAVB": ["Reply two<E>", "Answer four<E>"]},
    ),
    "other spaces around a header": Kind(
        source=(
            "{% for m in messages %}{{ '      <A>  ' if m.role == 'assistant' else '<U>' }}{{ m.content }}<E>{% endfor %}"
            "{% if add_generation_prompt %}{{ '  <A>    ' }}{% endif %}"
        ),
        control=_TURNS,
        learnt={"UA": ["Reply two<E>"], "UAVB": ["Reply two<E>", "Answer four<E>"]},
    ),
    "a line more in the prompt, always, turns alternate": Kind(
        source=_alternating(_SOURCES.replace("IF", "").replace("THEN", "")),
        control=("<step>",),
        learnt={"UA": [" Reply two <step>"], "UAVB": [" Reply two <step>", " Answer four <step>"]},
    ),
    "a line more in the prompt, turns alternate": Kind(
        source=_alternating(_SOURCES.replace("IF", "{% if add_generation_prompt %}").replace("THEN", "{% endif %}")),
        control=("<step>",),
        learnt={"UA": [" Reply two <step>"], "UAVB": [" Reply two <step>", " Answer four <step>"]},
    ),
    # an answer without text
    "something for texts alone": Kind(
        source=_WRITES_TEXT_ONLY.replace("THOUGHT", "''"),
        control=_TURNS,
        learnt={
            "UEVB": ["<E>", "\nAnswer four<E>"],
            "UAVE": ["\nReply two<E>", "<E>"],
            "UEVE": ["<E>", "<E>"],
            "EVB": ["<E>", "\nAnswer four<E>"],
            "UEBVA": ["<E>", "\nAnswer four<E>", "\nReply two<E>"],
            "UEV4": ["<E>", "\n4<E>"],
            "U4VE": ["\n4<E>", "<E>"],
            "UEEVB": ["<E>", "<E>", "\nAnswer four<E>"],
        },
    ),
    "something for texts alone, and an empty thought for all": Kind(
        source=_WRITES_TEXT_ONLY.replace("THOUGHT", "'\n<think></think>'"),
        control=_TURNS,
        learnt={
            "UEVB": ["\n<think></think><E>", "\n<think></think>\nAnswer four<E>"],
            "UAVE": ["\n<think></think>\nReply two<E>", "\n<think></think><E>"],
            "UEV4": ["\n<think></think><E>", "\n<think></think>\n4<E>"],
        },
    ),
    "something for texts alone, open last": Kind(
        source=_WRITES_TEXT_ONLY.replace("THOUGHT", "''")
        .replace("<E>{%", "{{ '<E>' if not loop.last else '' }}{%")
        .replace("prompt %}<A>", "prompt %}<E><A>"),
        control=_TURNS,
        learnt={"UEVB": ["<E>", "\nAnswer four"], "UAVE": ["\nReply two<E>"]},
    ),
    # the token that opens what follows ends the turn
    "GLM": Kind(
        source=_GLM,
        control=_GLM_CONTROL,
        stops=_GLM_STOPS,
        learnt={
            "UA": [f"{_NO_THOUGHT}Reply two"],
            "UAVB": [f"{_NO_THOUGHT}Reply two<|user|>", f"{_NO_THOUGHT}Answer four"],
            "UCRA": [f"{_NO_THOUGHT}<tool_call>get_weather Lima</tool_call><|observation|>", f"{_NO_THOUGHT}Reply two"],
        },
    ),
    "GLM, where stops are not known": Kind(
        source=_GLM,
        control=_GLM_CONTROL,
        learnt={
            "UAVB": [f"{_NO_THOUGHT}Reply two", f"{_NO_THOUGHT}Answer four"],
            "UCRA": [f"{_NO_THOUGHT}<tool_call>get_weather Lima</tool_call>", f"{_NO_THOUGHT}Reply two"],
        },
    ),
    "an end of text behind the end of a turn": Kind(
        source=(
            "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% else %}{{ '\n<|endoftext|>' }}{% endif %}"
        ),
        control=(*_ROLES_CONTROL, "<|endoftext|>"),
        stops=("<|endoftext|>",),
        learnt={
            "UA": ["Reply two<|end|>\n<|endoftext|>"],
            "UAVB": ["Reply two<|end|>", "Answer four<|end|>\n<|endoftext|>"],
        },
    ),
}
