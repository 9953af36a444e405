"""The version of code, for the key of a cache: a hash of a module's source and of all that it imports.

What a module imports is read from the source, at whatever depth and inside of functions too. So nothing that decides
what lies in a cache can be forgotten, and an edit anywhere else keeps the cache.
"""

import hashlib
import platform
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[2]
# `from a.b import (c, d)` and `import a.b`. Syntax trees would take ten times as long, at the start of each run.
_IMPORT: Final = re.compile(rb"\n *(?:from|import) lmhead(?:\.([\w.]+))?(?: import (\([^)]*\)|.*))?")


@cache
def source_version(module: str, *packages: str, package: Path = _PACKAGE) -> str:
    """SHA-256, in hex, of the source of `module` and of all of the library that it imports, with what else runs it.

    Args:
        module: by its name inside of the library, "data.labelling.label_files".
        packages: others, of which the installed version counts.
        package: the folder of the library's source.
    """
    digest = hashlib.sha256(f"python {platform.python_version()}\n".encode())  # what is white space, what is a letter
    for name in packages:
        digest.update(f"{name} {version(name)}\n".encode())
    for name, source in sorted(sources(module, package).items()):
        digest.update(f"{name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


def sources(module: str, package: Path = _PACKAGE) -> dict[str, bytes]:
    """The source of a module and of all that it imports, by their names; of a folder that of its __init__.py.

    Not of the package itself, which gathers the public names of all and is no part of any.
    """
    found: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name and name not in found and (file := _file(package, name)) is not None:
            found[name] = file.read_bytes()
            waiting += [name.rpartition(".")[0], *_imported(found[name], package)]
    assert module in found, f"no such module: {module}"
    return found


def _imported(source: bytes, package: Path) -> Iterator[str]:
    """The modules that a source names in its imports, and more: what a folder's module may be called."""
    for match in _IMPORT.finditer(source):
        name, names = (match[1] or b"").decode(), (match[2] or b"").decode()
        yield name
        if (package / name.replace(".", "/")).is_dir():
            yield from (f"{name}.{each}".lstrip(".") for each in re.findall(r"\w+", names))


def _file(package: Path, name: str) -> Path | None:
    place = package / name.replace(".", "/")
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
