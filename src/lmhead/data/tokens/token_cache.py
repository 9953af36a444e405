"""Token ids of documents on disk (cache_folder.py), found again by tokenizer, texts, and what encodes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer

from lmhead.data.labelling import cache_folder
from lmhead.data.labelling.cache_folder import DamagedError
from lmhead.data.labelling.source_version import source_version
from lmhead.data.rows.progress import Progress
from lmhead.data.sets.documents import Documents
from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.data.tokens.encoding import encode_stream
from lmhead.labels.packing.wrapped_rows import DocumentStream

_ENCODES: Final = "data.tokens.encoding"  # the module whose source, with what it imports, decides what an entry holds


def tokenised(
    backend: Tokenizer,
    documents: Documents,
    ends: TextEnds,
    cache: Path | None,
    note: Callable[[str], None],
    progress: Progress,
) -> DocumentStream:
    """The ids of documents: from the cache where it has them, else now, and then they are put there.

    Args:
        cache: a folder; None: nothing is kept.
        note: is told of an entry that is damaged, and made anew.

    Raises:
        InputError: the cache cannot be written.
    """
    if cache is None:
        return encode_stream(backend, documents, ends, progress)
    key = _key(backend, documents, ends)
    try:
        found = cache_folder.find(cache, key)
        if found is not None:
            return _stream(found[0], documents)
    except (DamagedError, KeyError) as error:
        note(f"{error}: tokenised anew")
    stream = encode_stream(backend, documents, ends, progress)
    cache_folder.publish(cache, key, {"ids": stream.ids, "ends": stream.ends}, {"kind": "tokens"})
    return stream


def _stream(arrays: dict[str, cache_folder.Array], documents: Documents) -> DocumentStream:
    ids, ends = arrays["ids"], arrays["ends"]
    if ids.ndim != 1 or ends.shape != (len(documents),) or ends.dtype != np.int64 or ends[-1:].tolist() != [len(ids)]:
        raise DamagedError("an entry of the cache holds other documents")
    return DocumentStream(ids=ids, ends=ends)


def _key(backend: Tokenizer, documents: Documents, ends: TextEnds) -> str:
    digest = hashlib.sha256(f"tokens {source_version(_ENCODES, 'tokenizers')} ".encode())
    backend.encode_special_tokens = True  # as it encodes
    digest.update(backend.to_str().encode())
    digest.update(f"{ends} {documents.digest()}".encode())
    return digest.hexdigest()
