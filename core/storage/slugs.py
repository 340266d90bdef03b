"""Names that are safe in files and ids."""

import unicodedata


def readable_slug(text: str, limit: int = 60) -> str:
    """The text with letters and digits of every script kept and a hyphen for all else.

    Composed (NFC), as people type it; at most ``limit`` characters and 3 bytes for each.

    >>> readable_slug("<script>alert(1)</script> 01"), readable_slug("日本語の 音声"), readable_slug("?")
    ('script-alert-1-script-01', '日本語の-音声', '')
    """
    composed = unicodedata.normalize("NFC", text)
    # Marks are parts of letters in Arabic, Thai or the scripts of India.
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c in "_." else " " for c in composed)
    cut = "-".join(kept.split())[:limit].encode("utf-8", "ignore")[: 3 * limit]
    return cut.decode("utf-8", "ignore").strip("-.")
