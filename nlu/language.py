"""Which language a text is in: English is the one that the encoder was trained on."""

from __future__ import annotations

from functools import cache
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier

_SPOKEN = ["en", "es", "zh", "vi", "tl", "ko", "ru", "ar", "ht", "fr", "pt", "de", "it", "pl", "hi", "ja"]
"""What patients here write in; among more, short English texts were taken for languages that hardly anybody writes."""
_SURELY = 8.0
"""Log-likelihood by which another language must lead. Of the short texts in `tests/integration/test_nlu.py` no English one and three others are misjudged."""
_MAX_READ = 400


def language_of(text: str) -> str:
    """The language of `text` (ISO 639-1): English, unless another leads surely; so also where the text is too short or too mixed to tell."""
    ranked = dict(_identifier().rank(text[:_MAX_READ]))
    first = max(ranked, key=lambda each: ranked[each])
    return str(first) if ranked[first] - ranked["en"] > _SURELY else "en"


@cache
def _identifier() -> Any:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(_SPOKEN)
    return identifier
