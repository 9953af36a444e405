"""Files that are no text: an archive, an image, compiled code; by its first bytes, and by its name.

A file is a text where its bytes are UTF-8 and no NUL is among the first of them, whatever it is called.
"""

from pathlib import PurePath
from typing import Final

FIRST_BYTES: Final = 8192  # that are looked at; git and grep do the same with as many
_BY_BYTES: Final = {  # how such files begin
    b"PK\x03\x04": "archive",
    b"PK\x05\x06": "archive",
    b"\x1f\x8b": "archive",
    b"BZh": "archive",
    b"\xfd7zXZ\x00": "archive",
    b"7z\xbc\xaf\x27\x1c": "archive",
    b"\x28\xb5\x2f\xfd": "archive",
    b"Rar!\x1a\x07": "archive",
    b"!<arch>\n": "compiled code",
    b"\x7fELF": "compiled code",
    b"\x00asm": "compiled code",
    b"\xcf\xfa\xed\xfe": "compiled code",
    b"\xca\xfe\xba\xbe": "compiled code",
    b"MZ\x90\x00": "compiled code",
    b"\x89PNG\r\n\x1a\n": "image",
    b"\xff\xd8\xff": "image",
    b"GIF87a": "image",
    b"GIF89a": "image",
    b"\x00\x00\x01\x00": "image",
    b"II*\x00": "image",
    b"MM\x00*": "image",
    b"%PDF-": "document",
    b"\xd0\xcf\x11\xe0": "document",
    b"wOFF": "font",
    b"wOF2": "font",
    b"OTTO\x00": "font",
    b"\x00\x01\x00\x00": "font",
    b"ID3": "sound or video",
    b"OggS": "sound or video",
    b"fLaC": "sound or video",
    b"\x1aE\xdf\xa3": "sound or video",
    b"\x93NUMPY": "numbers",
    b"SQLite format 3\x00": "database",
    b"PAR1": "Parquet file of another name",
    b"ARROW1": "Arrow file of another name",
}
_BY_NAME: Final = {  # where the bytes are no text, and say nothing else
    **dict.fromkeys((".zip", ".whl", ".jar", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".zst", ".7z"), "archive"),
    **dict.fromkeys((".pyc", ".pyo", ".o", ".a", ".so", ".dll", ".exe", ".pyd", ".class", ".wasm"), "compiled code"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ico"), "image"),
    **dict.fromkeys((".pdf", ".doc", ".docx", ".odt", ".ppt", ".pptx", ".xls", ".xlsx", ".epub"), "document"),
    **dict.fromkeys((".ttf", ".otf", ".woff", ".woff2", ".pfb"), "font"),
    **dict.fromkeys((".wav", ".mp3", ".mp4", ".avi", ".mkv", ".ogg", ".flac", ".webm"), "sound or video"),
    **dict.fromkeys((".npy", ".npz", ".bin", ".pt", ".pth", ".pkl", ".safetensors", ".h5", ".mat"), "numbers"),
    **dict.fromkeys((".db", ".sqlite", ".mdb"), "database"),
    **dict.fromkeys((".mo", ".gmo"), "message catalogue"),
}
_MARKS: Final = {  # byte order marks; that of UTF-32 begins with that of UTF-16
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
NOT_UTF8: Final = "text that is not UTF-8"
# A text may begin with "ID3", and is none of these unless its other bytes are no text; none begins with these.
_NO_TEXT_BEGINS_SO: Final = tuple(
    begins for begins in _BY_BYTES if not (begins.isascii() and begins.decode().isprintable()) or begins == b"%PDF-"
)


def what_it_is(first: bytes, name: str) -> str | None:
    """What a file is that begins so and is called so; None where it looks like a text."""
    for begins, encoding in _MARKS.items():
        if first.startswith(begins):
            return f"text in {encoding}"
    if b"\x00" in first[:FIRST_BYTES] or any(first.startswith(begins) for begins in _NO_TEXT_BEGINS_SO):
        return _kind(first, name) or "binary file"
    return None


def undecodable(first: bytes, name: str) -> str:
    """What a file is whose bytes are not UTF-8, though their beginning looked like a text: a font, or Latin-1."""
    return _kind(first, name) or NOT_UTF8


def _kind(first: bytes, name: str) -> str | None:
    known = next((what for begins, what in _BY_BYTES.items() if first.startswith(begins)), None)
    if known is None and first[257:262] == b"ustar":
        return "archive"
    return known or _BY_NAME.get(PurePath(name).suffix.lower())
