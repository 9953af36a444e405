"""Sources in a few groups that a person can look at: files, or the folders that they lie in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

_MOST: Final = 12
MOST_LOGGED: Final = 32  # sources that lines of a log name


def source_groups(tokens: Mapping[str, int], *, most: int = _MOST) -> dict[str, str]:
    """The group of each source, of so many at most: itself, or the deepest folder that leaves so few of them.

    Where even the first folders are more, or all is in one, those with the most tokens stay, and the others are one
    group. What all absolute paths begin with is left out.

    Args:
        tokens: of each source, whose folders are divided by /.
        most: groups.

    Example:
        >>> source_groups({"/data/a/x.txt": 5, "/data/b.txt": 1})
        {'/data/a/x.txt': 'a/x.txt', '/data/b.txt': 'b.txt'}
        >>> many = {f"text/{letter}/{number}.txt": 1 for letter in "ab" for number in range(20)}
        >>> sorted(set(source_groups(many).values()))
        ['text/a/', 'text/b/']
    """
    if len(tokens) <= most:
        return short_sources(list(tokens))
    shared = _common_folders(list(tokens))
    least = shared + 1
    deepest = max(source.count("/") for source in tokens)
    depths = (depth for depth in range(deepest, least - 1, -1))
    found = next((groups for depth in depths if len(set((groups := _at(depth, tokens)).values())) <= most), None)
    groups = _at(least, tokens) if found is None else found
    if len(set(groups.values())) == 1:
        groups = _largest({source: source for source in tokens}, tokens, most, "sources")
    elif found is None:
        groups = _largest(groups, tokens, most, "folders")
    return {source: _short(group, shared) for source, group in groups.items()}


def short_sources(sources: Sequence[str]) -> dict[str, str]:
    """Each source without the folders that all absolute paths begin with.

    Example:
        >>> short_sources(["/data/a/x.txt", "/data/b.txt"])
        {'/data/a/x.txt': 'a/x.txt', '/data/b.txt': 'b.txt'}
    """
    shared = _common_folders(list(sources)) if sources else 0
    return {source: _short(source, shared) for source in sources}


def _short(group: str, shared: int) -> str:
    return ("/".join(group.split("/")[shared:]) or "./") if group.startswith("/") else group


def _common_folders(sources: list[str]) -> int:
    """How many folders all of them begin with."""
    folders = [source.split("/")[:-1] for source in sources]
    first, last = min(folders), max(folders)  # what these two share, all between them do
    return next(
        (depth for depth, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]),
        min(len(first), len(last)),
    )


def _at(depth: int, sources: Mapping[str, int]) -> dict[str, str]:
    """Each source by its first folders, so many; files that lie above together, by where they lie."""
    return {source: _folder(source.split("/")[:-1][:depth]) for source in sources}


def _folder(parts: list[str]) -> str:
    return "/".join([*parts, ""]) if parts else "./"


def _largest(groups: dict[str, str], tokens: Mapping[str, int], most: int, what: str) -> dict[str, str]:
    total: Counter[str] = Counter()
    for source, group in groups.items():
        total[group] += tokens[source]
    kept = {group for group, _ in total.most_common(most - 1)}
    others = f"{len(total) - len(kept):,} other {what}"
    return {source: group if group in kept else others for source, group in groups.items()}
