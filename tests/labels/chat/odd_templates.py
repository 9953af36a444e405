# ruff: noqa: E501 (templates)
"""Chat templates in the styles of the field and beside them, each with what stands before and behind an answer.

Written for the tests, from how models of that style are known to be prompted; none is any model's own.
"""

import html
import json
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Style:
    """A template, and what an independent judge knows of it."""

    source: str
    header: str  # right before what the assistant produces
    first: str | None = None  # the same where nothing stands before it; None: alike
    end: str  # what ends its turn and is learnt; empty: nothing does
    refused: dict[str, str] = field(default_factory=dict)  # case -> kind; "*": every case
    given: str | None = None  # assistant_header, where the template does not tell by itself
    written: Callable[[str], str] | None = None  # what the template makes of a text
    open_last: bool = False  # nothing ends the last turn


def _json(text):
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _capitalised(text):
    return text.capitalize()


def _turns(user, assistant, *, system=None, tool=None, before="", prompt=None, after=""):
    """A template out of an expression for each role's message `m`."""
    branches = f"{{% if m.role == 'assistant' %}}{{{{ {assistant} }}}}{{% elif m.role == 'user' %}}{{{{ {user} }}}}"
    branches += f"{{% elif m.role == 'tool' %}}{{{{ {tool or user} }}}}"
    branches += f"{{% else %}}{{{{ {system or user} }}}}{{% endif %}}"
    asked = "" if prompt is None else f"{{% if add_generation_prompt %}}{{{{ {prompt} }}}}{{% endif %}}"
    return f"{before}{{% for m in messages %}}{branches}{{% endfor %}}{after}{asked}"


_IM_ASSISTANT = "'<|im_start|>assistant\\n' + m.content + '<|im_end|>\\n'"
_IM_OTHER = "'<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n'"
_IM_PROMPT = "'<|im_start|>assistant\\n'"


def _chatml(assistant=_IM_ASSISTANT, other=_IM_OTHER, *, prompt=_IM_PROMPT, before="", after=""):
    return _turns(other, assistant, system=other, tool=other, before=before, prompt=prompt, after=after)


ODD = {
    # plain-text headers
    "alpaca": Style(
        source=_turns(
            "'### Instruction:\\n' + m.content + '\\n\\n'",
            "'### Response:\\n' + m.content + eos_token + '\\n\\n'",
            system="m.content + '\\n\\n'",
            prompt="'### Response:\\n'",
        ),
        header="### Response:\n",
        end="</s>",
    ),
    "alpaca without an end": Style(
        source=_turns(
            "'### Instruction:\\n' + m.content + '\\n\\n'",
            "'### Response:\\n' + m.content + '\\n\\n'",
            system="m.content + '\\n\\n'",
            prompt="'### Response:\\n'",
        ),
        header="### Response:\n",
        end="",
    ),
    "alpaca without a prompt": Style(
        source=_turns(
            "'### Instruction:\\n' + m.content + '\\n\\n'",
            "'### Response:\\n' + m.content + eos_token + '\\n\\n'",
            system="m.content + '\\n\\n'",
        ),
        header="### Response:\n",
        end="</s>",
        refused={"*": "generation_prompt"},
        given="### Response:\n",
    ),
    "plain names without a prompt": Style(
        source=_turns("'User: ' + m.content + '\\n'", "'Bot: ' + m.content + eos_token + '\\n'"),
        header="Bot: ",
        end="</s>",
        refused={"*": "generation_prompt"},
        given="Bot: ",
    ),
    "roles as names without a prompt": Style(
        source="{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}",
        header="assistant: ",
        end="",
        refused={"*": "generation_prompt"},
        given="assistant: ",
    ),
    "vicuna": Style(
        source=_turns(
            "'USER: ' + m.content + ' '",
            "'ASSISTANT: ' + m.content + eos_token",
            system="m.content + '\\n\\n'",
            prompt="'ASSISTANT:'",
        ),
        header="ASSISTANT:",
        end="</s>",
    ),
    # special tokens as headers
    "zephyr": Style(
        source=_turns(
            "'<|' + m.role + '|>\\n' + m.content + eos_token + '\\n'",
            "'<|assistant|>\\n' + m.content + eos_token + '\\n'",
            prompt="'<|assistant|>\\n'",
        ),
        header="<|assistant|>\n",
        end="</s>",
    ),
    "gemma": Style(
        source=_turns(
            "'<start_of_turn>user\\n' + m.content | trim + '<end_of_turn>\\n'",
            "'<start_of_turn>model\\n' + m.content | trim + '<end_of_turn>\\n'",
            before="{{ bos_token }}",
            prompt="'<start_of_turn>model\\n'",
        ),
        header="<start_of_turn>model\n",
        end="<end_of_turn>",
        written=str.strip,
    ),
    "cohere": Style(
        source=_turns(
            "'<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>'",
            "'<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>'",
            system="'<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>'",
            before="{{ bos_token }}",
            prompt="'<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'",
        ),
        header="<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        end="<|END_OF_TURN_TOKEN|>",
    ),
    "phi": Style(
        source=_turns(
            "'<|' + m.role + '|>' + m.content + '<|end|>'",
            "'<|assistant|>' + m.content + '<|end|>'",
            prompt="'<|assistant|>'",
            after="{% if not add_generation_prompt %}{{ eos_token }}{% endif %}",
        ),
        header="<|assistant|>",
        end="<|end|>",
    ),
    "separators": Style(
        source=_turns(
            "'<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>'",
            "'<|im_start|>assistant<|im_sep|>' + m.content + '<|im_end|>'",
            prompt="'<|im_start|>assistant<|im_sep|>'",
        ),
        header="<|im_start|>assistant<|im_sep|>",
        end="<|im_end|>",
    ),
    # [INST]
    "llama 2": Style(
        source=(
            "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}"
            "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
            "{% for m in rest %}{% if m.role == 'assistant' %}{{ ' ' + m.content | trim + ' ' + eos_token }}"
            "{% else %}{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content | trim + ' [/INST]' }}"
            "{% endif %}{% endfor %}"
        ),
        header="[/INST]",
        first="",
        end="</s>",
        written=str.strip,
    ),
    "system in the last question": Style(
        source=(
            "{% set ns = namespace(last=-1, system='') %}{% for m in messages %}"
            "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
            "{% if m.role == 'system' %}{% set ns.system = m.content + '\\n\\n' %}{% endif %}{% endfor %}{{ bos_token }}"
            "{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
            "{% elif m.role != 'system' %}{{ '[INST] ' + (ns.system if loop.index0 == ns.last else '') + m.content + '[/INST]' }}"
            "{% endif %}{% endfor %}"
        ),
        end="</s>",
        header="",
    ),
    # what is done to the texts
    "strips": Style(
        source=_chatml(
            _IM_ASSISTANT.replace("m.content", "m.content.strip()"), _IM_OTHER.replace("m.content", "m.content.strip()")
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=str.strip,
    ),
    "shouts roles": Style(
        source=_chatml(
            _IM_ASSISTANT.replace("assistant", "ASSISTANT"),
            _IM_OTHER.replace("m.role", "m.role | upper"),
            prompt=_IM_PROMPT.replace("assistant", "ASSISTANT"),
        ),
        header="<|im_start|>ASSISTANT\n",
        end="<|im_end|>",
    ),
    "capitalises texts": Style(
        source=_chatml(_IM_ASSISTANT.replace("m.content", "m.content | capitalize")),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=_capitalised,
    ),
    "numbers its turns": Style(
        source=(
            "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' + loop.index | string + '\\n' + m.content + '<|im_end|>\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant ' + (messages | length + 1) | string + '\\n' }}"
            "{% endif %}"
        ),
        header="\n",
        end="<|im_end|>",
    ),
    "counts in a namespace": Style(
        source=(
            "{% set ns = namespace(turn=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.turn = ns.turn + 1 %}"
            "{{ '[Round ' + ns.turn | string + ']\\n\\n' }}{% endif %}"
            "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "wraps at 20 columns": Style(
        source=_chatml(_IM_ASSISTANT.replace("m.content", "(m.content + ' and so on and on') | wordwrap(20)")),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"*": "not_transparent"},
    ),
    "truncates texts": Style(
        source=_chatml(_IM_ASSISTANT.replace("m.content", "m.content[:9]")),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"*": "not_transparent"},
        written=lambda text: text[:9],
    ),
    "truncates long texts": Style(
        source=_chatml(_IM_ASSISTANT.replace("m.content", "m.content | truncate(15, true, '...', 0)")),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"*": "not_transparent"},
    ),
    "counts its texts": Style(
        source=_chatml(_IM_ASSISTANT.replace("m.content", "m.content + ' ' + m.content | wordcount | string")),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "escapes HTML": Style(
        source=_chatml(
            _IM_ASSISTANT.replace("+ m.content +", "~ m.content | e ~"),
            _IM_OTHER.replace("+ m.content +", "~ m.content | e ~"),
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=html.escape,
    ),
    "texts as JSON": Style(
        source=_chatml(
            _IM_ASSISTANT.replace("m.content", "m.content | tojson"),
            _IM_OTHER.replace("m.content", "m.content | tojson"),
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=_json,
    ),
    "texts as ASCII JSON": Style(
        source=_chatml(
            _IM_ASSISTANT.replace("m.content", "m.content | tojson(ensure_ascii=true)"),
            _IM_OTHER.replace("m.content", "m.content | tojson(ensure_ascii=true)"),
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=lambda text: json.dumps(text)[1:-1],
    ),
    "texts as Python": Style(
        source=_chatml(
            _IM_ASSISTANT.replace("m.content", "[m.content] | string"),
            _IM_OTHER.replace("m.content", "[m.content] | string"),
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=lambda text: repr(text)[1:-1],
        refused={"*": "python_text"},
    ),
    "messages as JSON": Style(
        source=(
            "{% for m in messages %}{{ '<|im_start|>' + {'role': m.role, 'content': m.content} | tojson + '<|im_end|>\\n' }}"
            '{% endfor %}{% if add_generation_prompt %}{{ \'<|im_start|>{"role": "assistant", "content": "\' }}{% endif %}'
        ),
        header='<|im_start|>{"role": "assistant", "content": "',
        end="<|im_end|>",
        written=_json,
    ),
    "the whole as JSON": Style(
        source="{{ messages | tojson }}{% if add_generation_prompt %}{{ '\\n' }}{% endif %}",
        header="",
        end="",
        refused={"*": "generation_prompt"},
    ),
    "replaces words": Style(
        source=_chatml(_IM_ASSISTANT.replace("m.content", "m.content | replace('Reply', 'Response')")),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=lambda text: text.replace("Reply", "Response"),
    ),
    # what is done to the order
    "sorts by role": Style(
        source=(
            "{% for m in messages | sort(attribute='role') %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"*": "interleaved"},
    ),
    "reverses": Style(
        source=(
            "{% for m in messages | reverse %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"*": "interleaved"},
    ),
    "sorts by text": Style(
        source=(
            "{% for m in messages | sort(attribute='content') %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"single": "labelled", "*": "interleaved"},
    ),
    "the last four messages": Style(
        source=(
            "{% for m in messages[-4:] %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"multi": "dropped_text", "system": "dropped_text"},
    ),
    # texts that come twice
    "repeats the last question": Style(
        source=(
            "{% set ns = namespace(last='') %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = m.content %}{% endif %}"
            "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
            "{{ '<|im_start|>reminder\\n' + ns.last + '<|im_end|>\\n' }}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "a summary before": Style(
        source=(
            "{{ '<|im_start|>system\\nSummary: ' }}{% for m in messages %}{{ m.content + ' / ' }}{% endfor %}{{ '<|im_end|>\\n' }}"
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"assistant first": "interleaved", "*": "generation_prompt"},
    ),
    "a summary behind": Style(
        source=(
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
            "{% if not add_generation_prompt %}{{ '<|im_start|>summary\\n' }}{% for m in messages %}{{ m.content + ' / ' }}{% endfor %}"
            "{{ '<|im_end|>\\n' }}{% endif %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"*": "interleaved"},
    ),
    "says it twice": Style(
        source=_chatml("'<|im_start|>assistant\\n' + m.content + '\\n(again: ' + m.content + ')<|im_end|>\\n'"),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    # where ends and breaks stand
    "line breaks between turns": Style(
        source=(
            "{% for m in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '\\n<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "ends before beginnings": Style(
        source=(
            "{% for m in messages %}{% if not loop.first %}{{ '<|end|>' }}{% endif %}{{ '<|' + m.role + '|>' + m.content }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|end|><|assistant|>' }}{% endif %}"
        ),
        header="<|assistant|>",
        end="<|end|>",
        open_last=True,
    ),
    "the last turn stays open": Style(
        source=(
            "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}{% if not loop.last %}{{ '<|im_end|>\\n' }}{% endif %}"
            "{% endfor %}{% if add_generation_prompt %}{{ '<|im_end|>\\n<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        open_last=True,
    ),
    "a beginning in each turn": Style(
        source=(
            "{% for m in messages %}{{ bos_token + m.role + '\\n' + m.content + eos_token }}{% endfor %}"
            "{% if add_generation_prompt %}{{ bos_token + 'assistant\\n' }}{% endif %}"
        ),
        header="<s>assistant\n",
        end="</s>",
    ),
    "ends with a word": Style(
        source=_turns(
            "'Q: ' + m.content + '\\n'", "'A: ' + m.content + '\\nEND\\n'", system="m.content + '\\n'", prompt="'A: '"
        ),
        header="A: ",
        end="",
    ),
    "two control tokens at the end": Style(
        source=_chatml(_IM_ASSISTANT.replace("<|im_end|>", "<|im_end|><|eot_id|>")),
        header="<|im_start|>assistant\n",
        end="<|im_end|><|eot_id|>",
    ),
    # headers
    "a header of its own per field": Style(
        source=_chatml(
            "'<|im_start|>assistant' + ('<|reasoning|>' + m.reasoning_content + '<|/reasoning|>' if m.reasoning_content else '')"
            " + '<|message|>' + m.content + '<|im_end|>\\n'",
            prompt="'<|im_start|>assistant'",
        ),
        header="<|im_start|>assistant",
        end="<|im_end|>",
    ),
    "channels": Style(
        source=_turns(
            "'<|start|>' + m.role + '<|message|>' + m.content + '<|end|>'",
            "('<|start|>assistant<|channel|>analysis<|message|>' + m.reasoning_content + '<|end|>' if m.reasoning_content else '')"
            " + '<|start|>assistant<|channel|>final<|message|>' + m.content + ('<|return|>' if loop.last else '<|end|>')",
            prompt="'<|start|>assistant'",
        ),
        header="<|start|>assistant",
        end="|>",
    ),
    "deepseek": Style(
        source=_turns(
            "'<\uff5cUser\uff5c>' + m.content",
            "'<\uff5cAssistant\uff5c>' + (m.content.split('</think>')[-1] if '</think>' in m.content else m.content)"
            " + '<\uff5cend\u2581of\u2581sentence\uff5c>'",
            system="m.content",
            before="{{ bos_token }}",
            prompt="'<\uff5cAssistant\uff5c><think>\\n'",
        ),
        header="<\uff5cAssistant\uff5c>",
        end="<\uff5cend\u2581of\u2581sentence\uff5c>",
        written=lambda text: text.split("</think>")[-1],
    ),
    "the prompt has a name": Style(
        source=_chatml(prompt="'<|im_start|>assistant name=bot\\n'"),
        header="<|im_start|>assistant",
        end="<|im_end|>",
    ),
    "a preamble in the prompt alone": Style(
        source=_chatml(prompt="'<|im_start|>system\\nAnswer now.<|im_end|>\\n<|im_start|>assistant\\n'"),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        refused={"*": "generation_prompt"},
    ),
    "a date in each header": Style(
        source=_chatml(
            "'<|im_start|>assistant (' + strftime_now('%Y') + ')\\n' + m.content + '<|im_end|>\\n'",
            prompt="'<|im_start|>assistant (' + strftime_now('%Y') + ')\\n'",
        ),
        header=")\n",
        end="<|im_end|>",
    ),
    "macros": Style(
        source=(
            "{% macro turn(role, text) %}{{ '<|im_start|>' + role + '\\n' + text + '<|im_end|>\\n' }}{% endmacro %}"
            "{% for m in messages %}{{ turn(m.role, m.content) }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "one string at the end": Style(
        source=(
            "{% set ns = namespace(out='') %}{% for m in messages %}{% set ns.out = ns.out ~ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' %}"
            "{% endfor %}{% if add_generation_prompt %}{% set ns.out = ns.out ~ '<|im_start|>assistant\\n' %}{% endif %}{{ ns.out }}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "strips the whole": Style(
        source=(
            "{% set ns = namespace(out='') %}{% for m in messages %}{% set ns.out = ns.out ~ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' %}"
            "{% endfor %}{% if add_generation_prompt %}{% set ns.out = ns.out ~ '<|im_start|>assistant\\n' %}{% endif %}{{ ns.out | trim }}"
        ),
        header="<|im_start|>assistant",
        end="<|im_end|>",
    ),
    "no control tokens, names for roles": Style(
        source=_turns(
            "'Human: ' + m.content + '\\n\\n'",
            "'Assistant: ' + m.content + '\\n\\n'",
            system="m.content + '\\n\\n'",
            prompt="'Assistant:'",
        ),
        header="Assistant:",
        end="",
    ),
    "nothing between turns": Style(
        source="{% for m in messages %}{{ m.content }}{% endfor %}",
        header="",
        end="",
    ),
    "no header and no end, but distinct tokens": Style(
        source="{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}",
        header="<|assistant|>",
        end="",
        refused={"*": "generation_prompt"},
        given="<|assistant|>",
    ),
    "always prompts, without an end": Style(
        source="{% for m in messages %}{{ '<|turn|>' + m.role + '\\n' + m.content }}{% endfor %}{{ '<|turn|>assistant\\n' }}",
        header="<|turn|>assistant\n",
        end="",
    ),
    "longer texts get a tag": Style(
        source=_chatml(
            _IM_ASSISTANT.replace("+ '<|im_end|>", "+ ('<|long|>' if m.content | length > 30 else '') + '<|im_end|>")
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=str,
    ),
    "calls as JSON": Style(
        source=_chatml(
            "'<|im_start|>assistant\\n' + m.content + (m.tool_calls | map(attribute='function') | list | tojson(sort_keys=true)"
            " if m.tool_calls else '') + '<|im_end|>\\n'",
            before="{{ tools | tojson(ensure_ascii=true) if tools else '' }}",
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
        written=str,
    ),
    "calls as ASCII JSON": Style(
        source=_chatml(
            "'<|im_start|>assistant\\n' + m.content + (m.tool_calls | tojson(ensure_ascii=true) if m.tool_calls else '')"
            " + '<|im_end|>\\n'",
            before="{{ tools | tojson(ensure_ascii=true) if tools else '' }}",
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "calls as Python": Style(
        source=_chatml(
            "'<|im_start|>assistant\\n' + m.content + (m.tool_calls[0].function.name ~ '(**' ~ m.tool_calls[0].function.arguments"
            " ~ ')' if m.tool_calls else '') + '<|im_end|>\\n'",
            before="{{ tools | tojson if tools else '' }}",
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "calls as XML": Style(
        source=(
            "{{ tools | tojson if tools else '' }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content }}"
            "{% for c in m.tool_calls or [] %}{{ '<call name=\"' + c.function.name + '\">' }}"
            "{% for key, value in c.function.arguments.items() %}{{ '<' + key + '>' + value + '</' + key + '>' }}{% endfor %}"
            "{{ '</call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
        ),
        header="<|im_start|>assistant\n",
        end="<|im_end|>",
    ),
    "eos between turns alone": Style(
        source="{{ bos_token }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}",
        end="</s>",
        header="",
    ),
}
