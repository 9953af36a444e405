"""Text width in a font of one width, in columns: what a token's box has to have room for."""

import unicodedata


def columns_of(text: str) -> int:
    """Columns that `text` takes in a font of one width: two for a wide character, none for a mark upon another.

    Example:
        >>> columns_of("é"), columns_of("日本")
        (1, 4)
    """
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
