"""Which words of a template may decide what becomes of a text that holds them."""

import pytest
from tests.labels.chat.chat_cases import assistant, call, user

from lmhead.labels.chat.markers import LEVELS, Marker
from lmhead.labels.template.chat_template import ChatTemplate


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ 'user' + x + '\n' }}{{ 'a' ~ x }}{{ 'b' if x else 'c' }}", set()),
        ("{% if m.role == 'user' or m['role'] in ['tool', 'function'] %}{% endif %}", set()),
        ("{{ m['content'] }}{{ m.get('name') }}{{ x.strip('\n') }}", set()),
        ("{{ raise_exception('no tools') }}", set()),
        ("{% if m.content == 'user' %}{% endif %}", {"user"}),
        ("{% if 'x' in m.content or m.content.startswith('y') %}{% endif %}", {"x", "y"}),
        ("{{ m.content.split('</think>')[0] }}{{ m.content | replace('p', 'q') }}", {"</think>", "p", "q"}),
        ("{% set role = m.role %}{% if role == 'model' %}{% endif %}", {"model"}),
        ("{% set x = 'written later' %}{{ x }}", {"written later"}),
        ("{% macro f() %}{{ 'caught' }}{% endmacro %}{% if f() == m.content %}{% endif %}", {"caught"}),
        ("{% set x %}{{ 'caught' }}{% endset %}{{ x }}", {"caught"}),
    ],
)
def test_words_that_are_only_written_or_name_fields_and_roles_are_not_tested(source, expected):
    assert ChatTemplate(source).tested == expected


def skeleton(*messages, text=""):
    return Marker(frozenset()).marked(messages, None, LEVELS[0], avoid="").skeleton(text)


def traced(first, second):
    """Two calls and what answers the first, with ids."""
    calls = [{**call("Paris"), "id": first}, {**call("Rome"), "id": second}]
    return user("Ask"), assistant("", tool_calls=calls), {"role": "tool", "content": "Sunny", "tool_call_id": first}


def test_ids_of_calls_differ_in_a_skeleton_where_they_look_otherwise_or_are_written():
    alike = skeleton(*traced("call1", "call2"))
    assert skeleton(*traced("call8", "call9")) == alike
    assert skeleton(*traced("call-8", "call9")) != alike
    assert skeleton(*traced("call8", "call8")) != alike
    assert skeleton(*traced("call8", "call9"), text="<call8>") != alike
