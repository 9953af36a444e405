import json
import sys

import pytest
from tests.labels.chat.chat_cases import trained
from tokenizers import Tokenizer, models, processors
from transformers import PreTrainedTokenizerFast

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tokenizer.json").write_text(trained(), encoding="utf-8")
    return tmp_path


def write(folder, name, value):
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_a_tokenizer_json_alone_is_enough(folder):
    for source in (folder, folder / "tokenizer.json"):
        files = read_tokenizer(str(source))
        assert files == TokenizerFiles(json=trained(), source=str(source))
        assert files.backend().encode("Ask alpha one").ids == Tokenizer.from_str(trained()).encode("Ask alpha one").ids


def test_a_file_of_another_name_has_no_neighbours(folder):
    write(folder, "tokenizer_config.json", {"chat_template": "config"})
    (folder / "tokenizer.json").rename(folder / "mine.json")
    assert read_tokenizer(str(folder / "mine.json")).chat_template is None


def test_what_transformers_saves_is_read_as_transformers_reads_it(tmp_path):
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained()), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    tokenizer.save_pretrained(tmp_path)
    files = read_tokenizer(str(tmp_path))
    assert (files.chat_template, files.tool_template) == ("{{ messages }}", "{{ tools }}")
    assert files.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    assert files.backend().get_vocab() == tokenizer.get_vocab()
    assert files.end_of_text() == "</s>"


def test_special_tokens_are_strings_or_dicts(folder):
    config = {
        "bos_token": {"__type": "AddedToken", "content": "<s>", "lstrip": False},
        "eos_token": "</s>",
        "pad_token": None,
        "add_bos_token": True,
        "add_eos_token": False,
        "extra_special_tokens": {"image_token": "<image>"},
    }
    write(folder, "tokenizer_config.json", config)
    write(folder, "special_tokens_map.json", {"eos_token": "<old>", "unk_token": {"content": "<unk>"}})
    files = read_tokenizer(str(folder))
    assert files.special_tokens == {
        "bos_token": "<s>", "eos_token": "<old>", "unk_token": "<unk>", "image_token": "<image>"
    }  # fmt: skip
    assert (files.add_bos, files.add_eos) == (True, False)


def test_templates_have_names(folder):
    named = [{"name": "default", "template": "one"}, {"name": "tool_use", "template": "two"}]
    write(folder, "tokenizer_config.json", {"chat_template": named})
    files = read_tokenizer(str(folder))
    assert (files.chat_template, files.tool_template) == ("one", "two")


def test_a_template_in_a_file_of_its_own_wins(folder):
    write(folder, "chat_template.json", {"chat_template": "processor"})
    assert read_tokenizer(str(folder)).chat_template == "processor"
    write(folder, "tokenizer_config.json", {"chat_template": "config"})
    assert read_tokenizer(str(folder)).chat_template == "config"
    write(folder, "chat_template.jinja", "own file")
    assert read_tokenizer(str(folder)).chat_template == "own file"
    write(folder, "additional_chat_templates/tool_use.jinja", "for tools")
    files = read_tokenizer(str(folder))
    assert (files.chat_template, files.tool_template) == ("own file", "for tools")


@pytest.mark.parametrize(("value", "ids"), [(3, (3,)), ([3, 5], (3, 5)), (None, ())])
def test_what_ends_a_generation_is_kept(folder, value, ids):
    write(folder, "generation_config.json", {"eos_token_id": value})
    assert read_tokenizer(str(folder)).generation_eos == ids


def test_tokens_that_the_config_adds_are_added(folder):
    size = Tokenizer.from_str(trained()).get_vocab_size()
    token = {"content": "<|im_end|>", "special": True, "normalized": False, "lstrip": False, "rstrip": True}
    write(folder, "tokenizer_config.json", {"added_tokens_decoder": {str(size): token}})
    backend = read_tokenizer(str(folder)).backend()
    assert backend.encode("<|im_end|>  ").ids == [size]  # rstrip
    assert backend.get_added_tokens_decoder()[size].special


def test_files_that_contradict_each_other_are_refused(folder):
    write(folder, "tokenizer_config.json", {"added_tokens_decoder": {"9999": {"content": "<|im_end|>"}}})
    with pytest.raises(InputError, match=r"must agree with tokenizer.json, got the id 9999 for '<\|im_end\|>'.*save"):
        read_tokenizer(str(folder))


def test_truncation_and_padding_are_left_out(tmp_path):
    tokenizer = Tokenizer.from_str(trained())
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=64)
    write(tmp_path, "tokenizer.json", tokenizer.to_str())
    assert len(read_tokenizer(str(tmp_path)).backend().encode("Ask alpha one two three").ids) in range(3, 64)


def test_the_end_of_text_is_found_without_a_config(folder):
    assert read_tokenizer(str(folder)).end_of_text() is None
    tokenizer = Tokenizer.from_str(trained())
    tokenizer.add_special_tokens(["</s>", "<|endoftext|>"])
    write(folder, "tokenizer.json", tokenizer.to_str())
    assert read_tokenizer(str(folder)).end_of_text() == "<|endoftext|>"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer.model": "x"}, "must be a fast one.*with tokenizer.model alone: make one with AutoTokenizer"),
        ({"vocab.json": "{}", "merges.txt": ""}, "must be a fast one.*with vocab.json alone.*save_pretrained"),
        ({"config.json": "{}"}, "must be a folder with a tokenizer.json"),
        ({"tokenizer.json": "{"}, "must be a tokenizer.json of the tokenizers library.*save it anew"),
        ({"tokenizer.json": "{}"}, "must be a tokenizer.json of the tokenizers library"),
        ({"tokenizer.json": None, "tokenizer_config.json": "{"}, "tokenizer_config.json must be JSON"),
        ({"tokenizer.json": None, "tokenizer_config.json": "[" * 100_000}, "tokenizer_config.json must be JSON"),
        ({"tokenizer.json": None, "generation_config.json": '{"a":' * 100_000}, "generation_config.json must be JSON"),
        ({"tokenizer.json": "[" * 100_000}, "must be a tokenizer.json of the tokenizers library"),
        ({"tokenizer.json": None, "tokenizer_config.json": "[]"}, "must be a JSON object, got list"),
        (
            {"tokenizer.json": None, "tokenizer_config.json": '{"chat_template": 3}'},
            "must be a text or a list of names",
        ),
        (
            {"tokenizer.json": None, "tokenizer_config.json": '{"chat_template": [{"name": "rag", "template": "x"}]}'},
            "must have one named default, got rag",
        ),
        (
            {"tokenizer.json": None, "tokenizer_config.json": '{"added_tokens_decoder": {"x": {"content": "y"}}}'},
            "must hold tokens by id",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_remedy(tmp_path, files, message):
    for name, text in files.items():
        write(tmp_path, name, trained() if text is None else text)
    with pytest.raises(InputError, match=message):
        read_tokenizer(str(tmp_path))


@pytest.mark.parametrize("source", ["missing/tokenizer.json", "./missing", "/missing/folder", "a/b/c", "x" * 5000])
def test_what_is_no_file_and_no_name_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="tokenizer must be a"):
        read_tokenizer(source)


def test_a_name_on_the_hub_needs_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"got 'a/b': no such file or folder; for a name .* \"lmhead\[hf\]\"$"):
        read_tokenizer("a/b")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="must be UTF-8 text"):
        read_tokenizer(str(tmp_path))


@pytest.mark.parametrize("flags", [{}, {"add_bos_token": False}, {"add_eos_token": False, "bos_token": None}])
def test_tokenizer_json_decides_what_stands_around_a_text_as_in_transformers(flags, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "?": 3}, unk_token="?"))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", **flags}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    encoded = read_tokenizer(str(tmp_path)).backend().encode("a")
    assert encoded.tokens == AutoTokenizer.from_pretrained(tmp_path).tokenize("a", add_special_tokens=True)


def test_half_a_surrogate_pair_in_a_file_is_refused(folder):
    (folder / "tokenizer_config.json").write_text('{"eos_token": "\\ud800"}')
    with pytest.raises(InputError, match=r"tokenizer_config\.json must be JSON, got .*surrogates not allowed"):
        read_tokenizer(str(folder))
