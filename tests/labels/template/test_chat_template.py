"""Templates render as transformers renders them, and misbehaving ones are stopped."""

from datetime import datetime

import pytest
from jinja2.exceptions import TemplateError as JinjaError
from tests.labels.chat.chat_cases import CASES, TEMPLATES, assistant, tools_of, user
from tests.labels.chat.chat_judge import SPECIAL, render
from tests.labels.chat.chat_templates import GOOD

from lmhead.errors import TemplateError
from lmhead.labels.template.chat_template import ChatTemplate, plain

FILES = sorted(TEMPLATES.rglob("*.jinja"))


def ours(source, messages, tools=None, prompt=False, **arguments):
    template = ChatTemplate(source, special_tokens=SPECIAL, now=datetime.now())
    return template.render(messages, tools=tools, add_generation_prompt=prompt, **arguments)


def attempt(rendering, *arguments):
    try:
        return rendering(*arguments)
    except (JinjaError, TemplateError, TypeError, ValueError, LookupError, AttributeError):
        return None


@pytest.mark.parametrize("name", GOOD)
def test_templates_of_the_tests_render_as_transformers_renders_them(name):
    for case, messages in CASES.items():
        for prompt in (False, True):
            arguments = GOOD[name], messages, tools_of(case), prompt
            assert attempt(ours, *arguments) == attempt(render, *arguments), case


def test_real_templates_render_as_transformers_renders_them():
    if not FILES:
        pytest.skip(f"no templates in {TEMPLATES}")
    for file in FILES[::4]:
        source = file.read_text(encoding="utf-8")
        for case in ("system", "tools", "field"):
            arguments = source, CASES[case], tools_of(case), True
            assert attempt(ours, *arguments) == attempt(render, *arguments), (file.name, case)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ {'b': '<é>'} | tojson(sort_keys=true) }}",
        "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{% macro f(x) %}[{{ x }}]{% endmacro %}{% for m in messages %}{{ f(m.role) }}{{ loop.last }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "{{ dict(a=1) }}{{ dict.fromkeys(['x'], 2) }}{{ range(3) | list }}{{ '-' * 3 }}{{ 2 ** 3 }}",
        "{{ tools is none }}{{ documents is none }}{{ undefined_name }}{{ bos_token }}{{ messages[0].reasoning }}",
        "{{ messages[1].reasoning_content }}{{ messages[1].thinking }}",
        "  {%- if true %}\n  a\n  {% endif %}\n b\n",
    ],
)
def test_what_templates_use_works_as_in_transformers(source):
    messages = [user("hi <b>"), assistant("ho", reasoning="so")]
    assert ours(source, messages) == render(source, messages)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", r"than 3,000,\d+ steps"),
        ("{% for i in range(99999) if range(99999) | sum < 0 %}{% endfor %}", r"than 3,000,\d+ steps"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError|steps"),
        ("{{ 'a' * 10**10 }}", "a product of more than 1,000,000"),
        ("{{ 10 ** (10 ** 10) }}", "a power of more than 10,000 bits"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import 'os' as os %}{{ os.listdir('/') }}", "no loader"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "access to attribute '__class__'"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "access to attribute '__init__'"),
        ("{{ open('/etc/passwd').read() }}", "'open' is undefined"),
        ("{% set ns = namespace(__class__=1) %}", "underscore"),
        ("{% set ns = namespace() %}{% set ns._x = 1 %}", "underscore"),
        ("{{ messages.append(1) }}", "unsafe|not safely callable"),
        ("{{ raise_exception('only one system prompt') }}", "only one system prompt"),
        ("{{ messages[0].content + none }}", "TypeError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_what_a_template_must_not_do_ends_its_render(source, says):
    with pytest.raises(
        TemplateError, match=f"messages must be such that the chat template renders them, got .*({says})"
    ):
        ours(source, [user("hi")])


def test_a_sandbox_counts_each_render_anew():
    template = ChatTemplate("{% for i in range(90000) if false %}{% endfor %}ok")
    assert [template.render([user("hi")]) for _ in range(40)] == ["ok"] * 40


def test_templates_see_plain_data():
    class Loud(str):
        __slots__ = ()

        def shout(self):
            return "!"

    assert plain({"a": (Loud("x"), object(), True, None)}) == {"a": ["x", "<object>", True, None]}
    assert type(plain(Loud("x"))) is str
