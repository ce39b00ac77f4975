"""Takes out of a text whatever looks like a shape or a genome; when in doubt, it is taken for one."""

from __future__ import annotations

import re

_WHOLE = r"-?\d+"
_PLAIN = r"-?\d[\d.,_]*\b|[Tt]rue\b|[Ff]alse\b|None\b|null\b"
_QUOTED = r"'[^']*'|\"[^\"]*\""
_GROUP = r"[(\[{](?:[^()\[\]{}]|[(\[{][^()\[\]{}]*[)\]}])*[)\]}]"
_BARE = rf"[^\s,;:()\[\]{{}}]+(?:{_GROUP})?|[^\s,;]+"

_UNIT = r"%|(?:[nuµm]?s|seconds?|min|minutes?|h|hours?|days?|[kKMGT]?i?B|bytes|[mk]?[WJ])\b"
_READABLE = rf"(?!\d{{4}}-\d\d-\d\d|\d\d?:\d\d|[\d.,_]*\d ?(?:{_UNIT})(?! ?[:=]))"
"""An extent after a colon is no date, no time and no figure with a unit; ``h`` in ``m: 768 h: 4`` is a dimension."""

_SHAPED = (
    # (768, 769), (768,), [768, 769], [768 769] and [768]; round (3) and cpu[0] are prose
    (re.compile(rf"([(\[{{])\s*{_WHOLE}[\s,](?:[\s,]*{_WHOLE}\b)*[\s,]*([)\]}}])"), r"\1…\2"),
    (re.compile(rf"(?<!\w)\[\s*{_WHOLE}\s*\]"), "[…]"),
    # ('m', 768) of a repr, ["m",768] of JSON
    (re.compile(rf"([(\[])\s*(['\"])\w+\2\s*,\s*(?:{_PLAIN})\s*,?\s*([)\]])"), r"\1…\3"),
    # matmul[m=768,tile=[1,2],n=769]
    (re.compile(r"\[[^\[\]=]*=(?:[^\[\]]|\[[^\[\]]*\])*\]"), ""),
    # 768x769x770 and 768 x 769 wherever they stand, as in names of recordings; 0x1f is an address
    (re.compile(r"(?<!\d)[1-9]\d*(?: ?[x×] ?\d+)+(?!\d)"), "…"),
    # m=768, m = 768, shape=(('m', 768), ('n', 769)), 'm'=768
    (re.compile(rf"\b([A-Za-z_]\w*['\"]? ?==? ?)(?:{_GROUP}|{_QUOTED}|{_BARE})"), r"\1…"),
    # {'m': 768}, {"pack":false}; what follows 'matmul': in an error is prose
    (re.compile(rf"((['\"])[A-Za-z_]\w*\2 ?: ?)(?:{_GROUP}|{_QUOTED}|{_PLAIN})"), r"\1…"),
    # {m: 768}
    (re.compile(rf"\b([A-Za-z_]\w* ?: ?){_READABLE}['\"]?-?\d[\d.,_]*\b['\"]?"), r"\1…"),
)
"""How shapes and genomes are written, and what is left of them."""

_ERROR = re.compile(r"\b[A-Za-z]+(?:Error|Exception)\b")


def without_shapes(text: str) -> str:
    """The text with an ellipsis for each extent and parameter; dates, times and figures with units stay."""
    for shape, left in _SHAPED:
        text = shape.sub(left, text)
    return text


def failure_without_words(node: str, text: str) -> str:
    """``node-0 failed: KeyError``: an error's words may hold anything in any form, the names of its types do not."""
    return ": ".join((f"{node} failed", *dict.fromkeys(_ERROR.findall(text))))
