# ruff: noqa: E501 (templates)
"""Hostile templates end in one TemplateError, in any thread and in worker processes; honest ones do not notice.

Nothing here is timed: a template that were not stopped would take all memory or never end, and so would the test.
"""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from tests.labels.chat.chat_cases import user

from lmhead.errors import ArgumentError, TemplateError
from lmhead.labels.template import sandbox_budget
from lmhead.labels.template.chat_template import ChatTemplate

DOUBLED = (
    "{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}{% set ns.x = {} %}{% endfor %}{{ ns.x | length }}"
)

HOSTILE = {
    # without end
    "a huge range": "{% for i in range(10**9) %}x{% endfor %}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops that filter": "{% for i in range(99999) if range(99999) | sum < 0 %}{% endfor %}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "a recursive loop": "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "macros that call macros": (
        "{% macro a(n) %}{% for i in range(n) %}{{ b(n) }}{% endfor %}{% endmacro %}"
        "{% macro b(n) %}{% for i in range(n) %}{% for j in range(n) %}{% endfor %}{% endfor %}{% endmacro %}{{ a(4000) }}"
    ),
    "slow passes": "{% set l = [1] * 1000000 %}{% for i in range(90000) %}{% set x = l | sort | sum %}{% endfor %}",
    "a call block in loops": "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}{% for i in range(99999) %}"
    "{% call f() %}{% for i in range(99999) %}{% endfor %}{% endcall %}{% endfor %}",
    # memory
    "a huge product": "{{ 'a' * 10**10 }}",
    "a huge literal product": "{{ 'a' * 10000000000 }}",
    "a huge list": "{{ ([0] * 10**9) | length }}",
    "a doubled product": DOUBLED.replace("{}", "ns.x * 2"),
    "a doubled sum": DOUBLED.replace("{}", "ns.x + ns.x"),
    "a doubled tilde": DOUBLED.replace("{}", "ns.x ~ ns.x"),
    "a doubled list": DOUBLED.replace("'abcdefgh'", "[1]").replace("{}", "ns.x + ns.x"),
    "a doubled format": DOUBLED.replace("{}", "'%s%s' % (ns.x, ns.x)"),
    "a doubled format method": DOUBLED.replace("{}", "'{0}{0}'.format(ns.x)"),
    "a doubled format filter": DOUBLED.replace("{}", "'%s%s' | format(ns.x, ns.x)"),
    "a doubled join": DOUBLED.replace("{}", "[ns.x, ns.x] | join"),
    "a doubled join method": DOUBLED.replace("{}", "''.join([ns.x, ns.x])"),
    "a join of a join": DOUBLED.replace("{}", "ns.x.join([ns.x, ns.x])"),
    "a join of a generator": DOUBLED.replace("{}", "[ns.x, ns.x] | map('string') | join"),
    "a doubled replacement": DOUBLED.replace("{}", "ns.x | replace('a', ns.x)"),
    "a doubled replacement method": DOUBLED.replace("{}", "ns.x.replace('a', ns.x)"),
    "a doubled named replacement": DOUBLED.replace("{}", "ns.x | replace(old='a', new=ns.x)"),
    "an empty replacement": "{{ ('a' * 1000000) | replace('', 'b' * 1000000) }}",
    "a doubled JSON": DOUBLED.replace("abcdefgh", '\\"').replace("{}", "ns.x | tojson"),
    "a doubled repr": DOUBLED.replace("abcdefgh", "\\\\").replace("{}", "[ns.x] | string"),
    "a doubled pprint": DOUBLED.replace("{}", "[ns.x, ns.x] | pprint"),
    "a doubled list as text": DOUBLED.replace("{}", "[ns.x, ns.x] | string"),
    "a doubled list as JSON": DOUBLED.replace("{}", "[ns.x, ns.x] | tojson"),
    "a doubled dictionary": DOUBLED.replace("{}", "{'a': ns.x, 'b': ns.x} | tojson"),
    "nested lists": DOUBLED.replace("'abcdefgh'", "[1]").replace("{}", "[ns.x, ns.x]").replace("length", "string"),
    "nested lists as JSON": DOUBLED.replace("'abcdefgh'", "[1]")
    .replace("{}", "[ns.x, ns.x]")
    .replace("length", "tojson"),
    "nested lists that are written": DOUBLED.replace("'abcdefgh'", "[1]")
    .replace("{}", "[ns.x, ns.x]")
    .replace(" | length", ""),
    "nested lists that are joined": (
        DOUBLED.replace("'abcdefgh'", "[1]").replace("{}", "[ns.x, ns.x]").replace("length", "join")
    ),
    "nested lists that are compared": (
        "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}"
        "{% endfor %}{{ ns.x == ns.y }}{{ 1 / 0 }}"
    ),
    "a doubled block": (
        "{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}"
    ),
    "a doubled filter block": (
        "{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}{% set ns.x %}{% filter upper %}{{ ns.x }}{{ ns.x }}"
        "{% endfilter %}{% endset %}{% endfor %}"
    ),
    "a doubled macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% else %}abcdefgh{% endif %}{% endmacro %}{{ f(60) }}",
    "much output": "{% for i in range(99999) %}{{ 'abcdefgh' * 1000 }}{% endfor %}",
    "many texts kept": (
        "{% set ns = namespace(l=[]) %}{% for i in range(90000) %}{% set ns.l = ns.l + ['a' * 100000 ~ i] %}{% endfor %}"
    ),
    "a wide text": "{{ 'a' | center(1000000000) }}",
    "a wide method": "{{ 'a'.ljust(10000000000) }}",
    "a wide zero": "{{ 'a'.zfill(10**10) }}",
    "wide tabs": "{{ '\t'.expandtabs(10**10) }}",
    "many tabs": "{{ ('\t' * 1000000).expandtabs(10000) }}",
    "a wide indent": "{{ ('\n' * 1000000) | indent(10000, true, true) }}",
    "a wide named indent": "{{ ('\n' * 1000000) | indent(width=9999, blank=true) }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "a wide format of an argument": "{{ '%*d' % (1000000000, 1) }}",
    "a wide format method": "{{ '{:>10000000000}'.format(1) }}",
    "a wide nested format": "{{ '{:{}}'.format(1, 10**10) }}",
    "a wide format map": "{{ '{a:>10000000000}'.format_map({'a': 1}) }}",
    "a precise number": "{{ '%.999999999f' % 1.5 }}",
    "wide JSON": "{{ messages | tojson(indent=10**9) }}",
    "JSON with much between": "{{ messages | tojson(indent='a' * 1000000) }}",
    "many slices": "{{ [1] | slice(10**9) | list | length }}",
    "a large batch": "{{ [1] | batch(10**9, 'x') | list | length }}",
    "many wrapped lines": "{% set x = ('a ' * 500000) %}{{ x | wordwrap(1, true, 'b' * 1000000) }}",
    "many links": "{{ ('http://a.b ' * 90000) | urlize(target='x' * 100000) }}",
    "many attributes": "{% set x = 'a' * 1000000 %}{% for i in range(900) %}{{ {'a': x, 'b': x} | xmlattr }}{% endfor %}",
    "a huge power": "{{ 10 ** (10 ** 10) }}",
    "powers of powers": "{% set ns = namespace(x=10) %}{% for i in range(99) %}{% set ns.x = ns.x ** 60 %}{% endfor %}{{ ns.x }}",
    "squares of squares": "{% set ns = namespace(x=10) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "a long number": "{{ ('9' * 100000) | int }}{{ 1 / 0 }}",
    "lipsum": "{{ lipsum(n=10**6, min=1000, max=100000) }}",
    # files, environment, attributes
    "a file that is included": "{% include '/etc/passwd' %}",
    "a file that is imported": "{% import 'os' as os %}{{ os.listdir('/') }}",
    "names from a file": "{% from '/etc/passwd' import root %}",
    "a file that is extended": "{% extends '/etc/passwd' %}",
    "a file that is opened": "{{ open('/etc/passwd').read() }}",
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "subclasses by index": "{{ ''['__class__']['__mro__'] }}",
    "subclasses by filter": "{{ ('' | attr('__class__')).__mro__ }}",
    "subclasses by map": "{{ ([''] | map(attribute='__class__') | first).__mro__ }}",
    "subclasses by format": "{{ '{0.__class__.__mro__}'.format('') }}{{ 1 / 0 }}",
    "subclasses by format map": "{{ '{a.__class__.__mro__}'.format_map({'a': ''}) }}{{ 1 / 0 }}",
    "a bound format": "{% set f = '{0.__class__}'.format %}{{ f(1) }}{{ 1 / 0 }}",
    "globals of cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "globals of joiner": "{{ joiner.__init__.__globals__ }}",
    "globals of a macro": "{% macro f() %}{% endmacro %}{{ f.__init__.__globals__ }}",
    "globals of a function": "{{ raise_exception.__globals__.os }}",
    "the clock's class": "{{ strftime_now.__self__.__class__.x }}",
    "the sandbox": "{{ range.__self__.loader }}",
    "the template": "{{ self._TemplateReference__context.environment }}",
    "a loop's class": "{% for m in messages %}{{ loop.__class__.__init__.x }}{% endfor %}",
    "a namespace's class": "{% set ns = namespace(__class__=1) %}",
    "a namespace's private name": "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "a list that is changed": "{{ messages.append(1) }}",
    "a message that is changed": "{{ messages[0].update(role='x') }}",
}

UNCOMPILABLE = {
    "parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "lists": "{{ " + "[" * 300 + "]" * 300 + " }}",
    "loops": "{% for i in x %}" * 40 + "{% endfor %}" * 40,
    "conditions": "{% if x %}" * 3000 + "{% endif %}" * 3000,
    "negations": "{{ " + "not " * 9000 + "x }}",
    "a number": "{{ " + "9" * 9000 + " }}",
    "operators": "{{ 1 " + "+ 1" * 20000 + " }}",
}


def stopped(name):
    """The error that a hostile template ends in, as text; picklable, to be called anywhere."""
    try:
        text = ChatTemplate(HOSTILE[name]).render([user("hi")])
    except TemplateError as error:
        return str(error)
    return f"{name} rendered {text[:80]!r}"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_stopped(name, monkeypatch):
    monkeypatch.setattr(sandbox_budget, "MAX_STEPS", 200_000)  # sooner than for users: there are many
    monkeypatch.setattr(sandbox_budget, "MAX_SECONDS", 1.0)
    assert stopped(name).startswith("messages must be such that the chat template renders them, got ")


@pytest.mark.parametrize("name", UNCOMPILABLE)
def test_a_template_that_is_nested_too_deeply_is_refused_or_rendered(name):
    try:
        template = ChatTemplate(UNCOMPILABLE[name])
    except ArgumentError:
        return
    with pytest.raises(TemplateError):
        template.render([user("hi")])


EVERYWHERE = [
    "nested loops",
    "a macro that calls itself",
    "a doubled tilde",
    "a wide text",
    "subclasses",
    "a doubled block",
]


def test_stops_work_in_threads_that_share_the_process(monkeypatch):
    monkeypatch.setattr(sandbox_budget, "MAX_STEPS", 200_000)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(stopped, EVERYWHERE))
    assert all(text.startswith("messages must be such that the chat template renders them, got ") for text in found)


def stop_sooner():
    """In a process of its own."""
    sandbox_budget.MAX_STEPS = 200_000


def test_stops_work_in_worker_processes():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=stop_sooner) as pool:
        found = list(pool.map(stopped, EVERYWHERE))
    assert all(text.startswith("messages must be such that the chat template renders them, got ") for text in found)


def test_a_threads_renders_do_not_give_steps_to_anothers():
    looping = ChatTemplate("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
    quick = ChatTemplate("{{ messages[0].content }}")
    quick._sandbox = looping._sandbox
    quick._template = quick._sandbox.compiled(quick.source)[0]
    with ThreadPoolExecutor(1) as pool:
        endless = pool.submit(looping.render, [user("hi")])
        while not endless.done():
            assert quick.render([user("hi")]) == "hi"
        assert isinstance(endless.exception(), TemplateError)


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{% set ns.out = ns.out ~ m.role ~ m.content ~ eos_token %}{% endfor %}{{ ns.out }}",
        "{% for m in messages %}{% set ns.out = ns.out + m.content + '\n' %}{% endfor %}{{ ns.out | trim }}",
        "{% for m in messages %}{{ m.content.strip() | replace('a', 'bb') | indent(2) }}{% endfor %}",
        "{% for m in messages %}{{ '=' * 80 }}{{ m | tojson(indent=2) }}{{ m.content.split('x') | join(', ') }}{% endfor %}",
        "{% for m in messages %}{% for n in messages %}{% if loop.first %}{{ n.content }}{% endif %}{% endfor %}{% endfor %}",
    ],
)
def test_a_long_conversation_is_no_hostile_one(source):
    messages = [user(f"message {number} " + "x" * 1000) for number in range(1000)]
    assert len(ChatTemplate("{% set ns = namespace(out='') %}" + source).render(messages, eos_token="</s>")) > 1_000_000


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{% for c in m.content %}{{ c }}{% endfor %}{% endfor %}",
        "{% for m in messages %}{% for n in messages %}{% endfor %}{{ m.content }}{% endfor %}",
    ],
)
def test_the_steps_that_a_render_may_take_grow_with_the_conversation(source, monkeypatch):
    monkeypatch.setattr(sandbox_budget, "MAX_STEPS", 100)
    messages = [user("x" * 100)] * 300
    assert ChatTemplate(source).render(messages) == "x" * 30_000
    with pytest.raises(TemplateError, match=r"loops took more than [\d,]+ steps"):
        ChatTemplate(f"{{% for i in range(99999) %}}{source}{{% endfor %}}").render(messages)


def test_an_attribute_that_was_safe_once_is_none_that_formats():
    """Jinja's sandbox is asked once for each type and name; a format that a namespace holds stays sandboxed."""
    source = (
        "{% set ns = namespace(f='text') %}{{ ns.f }}{{ ns.f }}"
        "{% set ns.f = '{0.__class__}'.format %}{{ ns.f(messages) }}"
    )
    assert ChatTemplate(source).render([]) == "texttext"  # no class is written
    with pytest.raises(TemplateError):
        ChatTemplate("{{ [].append }}{{ [].append }}{{ [].append(1) }}").render([])
