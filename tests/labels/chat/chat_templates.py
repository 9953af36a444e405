"""Chat templates written for the tests, in the styles that most models use, and some that misbehave."""

CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

LLAMA_3 = """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set system_text = messages[0].content | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_text = 'You are helpful.' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\n\n' + system_text }}
{%- for tool in tools or [] %}
    {{- '\n' + tool | tojson }}
{%- endfor %}
{{- '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}
    {%- if message.tool_calls %}
        {%- set call = message.tool_calls[0].function %}
        {{- '{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + '}' }}
    {%- else %}
        {{- message.content | trim }}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

QWEN_3 = """\
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- '# Tools\n' }}
    {%- for tool in tools %}
        {{- tool | tojson + '\n' }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last_user=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {%- set ns.last_user = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set reasoning = message.reasoning_content or '' %}
        {%- set content = message.content %}
        {%- if not reasoning and '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' }}
        {%- if loop.index0 > ns.last_user %}
            {{- '<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' }}
        {%- endif %}
        {{- content.lstrip('\n') }}
        {%- for call in message.tool_calls or [] %}
            {{- '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}
            {{- call.function.arguments | tojson + '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
"""

MISTRAL = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '[INST] ' + message.content + '[/INST]' }}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content + eos_token }}
    {%- endif %}
{%- endfor %}
"""  # drops the system prompt, and needs no generation prompt

NO_TERMINATOR = """\
{%- for message in messages %}
    {{- '<|' + message.role + '|>\n' + message.content + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\n' }}
{%- endif %}
"""

ALWAYS_PROMPTS = """\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|turn_start|><|' + message.role + '|>' + message.content + '<|turn_end|>' }}
{%- endfor %}
{{- '<|turn_start|><|assistant|>' }}
"""

OTHER_LAST_TERMINATOR = """\
{%- for message in messages %}
    {{- '<|start|>' + message.role + '<|message|>' + message.content }}
    {{- '<|return|>' if loop.last and message.role == 'assistant' else '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant' }}
{%- endif %}
"""

PROMPT_THINKS = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")

NO_GENERATION_PROMPT = CHATML.split("{%- if add")[0]

OTHER_HEADER = CHATML.replace("<|im_start|>assistant\n", "<|im_start|>model\n")

READS_ITS_TEXT = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + message.content | upper }}
    {{- message.content | length | string + '<|im_end|>\n' }}
{%- endfor %}
"""

GOOD = {
    "chatml": CHATML,
    "llama 3": LLAMA_3,
    "qwen 3": QWEN_3,
    "mistral": MISTRAL,
    "no terminator": NO_TERMINATOR,
    "always prompts": ALWAYS_PROMPTS,
    "another last terminator": OTHER_LAST_TERMINATOR,
    "the prompt thinks": PROMPT_THINKS,
}


def _thinking_where(condition, *, before=""):
    """A template that always writes a thought, and prompts with its tag where a condition holds."""
    return f"""\
{before}{{%- for message in messages %}}
    {{%- if message.role == 'assistant' %}}
        {{{{- '<|im_start|>assistant\n<think>\n' + (message.reasoning_content or '') + '</think>' + message.content }}}}
        {{%- for call in message.tool_calls or [] %}}
            {{{{- '<tool_call>' + call.function.name + (call.function.arguments | tojson) + '</tool_call>' }}}}
        {{%- endfor %}}
    {{%- else %}}
        {{{{- '<|im_start|>' + message.role + '\n' + message.content }}}}
    {{%- endif %}}
    {{{{- '<|im_end|>\n' }}}}
{{%- endfor %}}
{{%- if add_generation_prompt %}}
    {{{{- '<|im_start|>assistant\n' + ('<think>\n' if {condition} else '') }}}}
{{%- endif %}}
"""


def _remembering(condition, *, otherwise=None):
    """What sets `ns.on` in some message, for good or until another condition clears it."""
    clears = f"{{%- if {otherwise} %}}{{%- set ns.on = false %}}{{%- endif %}}" if otherwise else ""
    return (
        "{%- set ns = namespace(on=false, users=0) %}{%- for message in messages %}"
        f"{{%- if {condition} %}}{{%- set ns.on = true %}}{{%- endif %}}{clears}"
        "{%- if message.role == 'user' %}{%- set ns.users = ns.users + 1 %}{%- endif %}{%- endfor %}\n"
    )


_CALLED = "message.tool_calls and message.tool_calls[0].function.name == 'python'"
FAR = {  # what a prompt is depends on what is far from it
    "after the last question": QWEN_3,
    "a switch in the last question": _thinking_where(
        "not ns.on", before=_remembering("message.role == 'user' and '/no_think' in message.content",
                                         otherwise="message.role == 'user' and '/no_think' not in message.content"),
    ),
    "a switch anywhere": _thinking_where("not ns.on", before=_remembering("'/no_think' in message.content")),
    "a switch and back": _thinking_where(
        "not ns.on",
        before=_remembering("'/no_think' in message.content", otherwise="'/think' in message.content"),
    ),
    "a switch of the system": _thinking_where("'/no_think' not in messages[0].content"),
    "a tool that was called": _thinking_where("ns.on", before=_remembering(_CALLED)),
    "parity of messages": _thinking_where("messages | length % 4 < 2"),
    "parity of questions": _thinking_where("ns.users % 2", before=_remembering("false")),
    "the number of messages": _thinking_where("messages | length > 37"),
    "between two numbers of messages": _thinking_where("16 < messages | length < 33"),
    "the number of questions": _thinking_where("ns.users > 3", before=_remembering("false")),
    "the first messages alone": CHATML.replace("in messages", "in messages[:30]"),
    "the last messages alone": CHATML.replace("in messages", "in messages[-30:]"),
    "the length of all": _thinking_where("messages | map(attribute='content') | join | length > 900"),
    "another end of long conversations": _thinking_where("true").replace(
        "'<|im_end|>\\n'", "'<|eot_id|>' if loop.last and messages | length > 24 else '<|im_end|>\\n'"
    ),
}  # fmt: skip
