"""Files packed by zstd are read as others are, and one that ends too early is never taken for a short one."""

import json
import sys
from pathlib import Path

import pytest
from tests.data.given import rows_of

from lmhead.data.formats.formats import read_samples
from lmhead.errors import InputError

pa = pytest.importorskip("pyarrow")

LINES = "".join(json.dumps({"text": f"row {n} of many"}) + "\n" for n in range(3000)).encode()


def packed(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def texts(path: Path) -> list[object]:
    return [row.columns["text"] for row in rows_of(path)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl.zst", b'{"text": "a"}\n{"text": "b"}\n'),
        ("a.json.zst", b'[{"text": "a"}, {"text": "b"}]'),
        ("a.csv.zst", b"text\na\nb\n"),
        ("a.tsv.ZST", b"text\na\nb\n"),
    ],
)
def test_rows_packed_by_zstd_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(packed(content))
    assert texts(tmp_path / name) == ["a", "b"]
    assert texts(tmp_path) == ["a", "b"]  # of the folder


def test_a_text_packed_by_zstd_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt.zst").write_bytes(packed(b"two\nlines"))
    (tmp_path / "b.tar.zst").write_bytes(packed(b"\0" * 257 + b"ustar" + b"\0" * 300))
    assert texts(tmp_path / "a.txt.zst") == ["two\nlines"]
    samples = read_samples([str(tmp_path)])
    assert len(list(samples)) == 1
    assert samples.reading.left == {"archive": 1}


def test_frames_one_behind_the_other_are_one_file(tmp_path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd"
    (tmp_path / "a.jsonl.zst").write_bytes(packed(LINES) + skipped + packed(b"") + packed(LINES))
    assert len(texts(tmp_path / "a.jsonl.zst")) == 6000


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("before", [b"", packed(LINES)])
def test_a_file_that_ends_too_early_is_damaged(tmp_path: Path, share: float, before: bytes) -> None:
    whole = packed(LINES)
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(before + whole[: int(len(whole) * share)])
    with pytest.raises(
        InputError, match=r"a\.jsonl\.zst is damaged after line \d+: it ends before its last frame does"
    ):
        texts(path)
    path.rename(tmp_path / "a.json.zst")
    with pytest.raises(InputError, match=r"a\.json\.zst is damaged"):
        texts(tmp_path / "a.json.zst")


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(packed(LINES) + b"\x00" * 20 + packed(LINES))
    with pytest.raises(InputError, match=r"a\.jsonl\.zst is damaged after line \d+: ZSTD decompress failed"):
        texts(tmp_path / "a.jsonl.zst")


def test_a_name_that_does_not_say_what_a_file_is_packed_by_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(b'{"text": "a"}\n')
    with pytest.raises(
        InputError, match=r"must be packed by zstd, got other first bytes: rename it without \.zst, or download"
    ):
        texts(tmp_path / "a.jsonl.zst")
    (tmp_path / "b.jsonl").write_bytes(packed(LINES))
    with pytest.raises(InputError, match=r"must be the text that its name says, got packed by zstd: let its name end"):
        texts(tmp_path / "b.jsonl")
    (tmp_path / "c.parquet.zst").write_bytes(packed(b"PAR1"))
    with pytest.raises(InputError, match=r"must be \.parquet itself, got it inside of \.zst: unpack it"):
        texts(tmp_path / "c.parquet.zst")


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zst").write_bytes(packed(LINES))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for given in (tmp_path, tmp_path / "a.jsonl.zst"):
        with pytest.raises(InputError, match=r'a\.jsonl\.zst needs pyarrow to be unpacked: pip install "lmhead\[parq'):
            texts(given)
