"""Names of domains: the same word in other letters is the same domain.

``Speech`` in a task, a filter or an encoder's home is the ``speech`` of the clips.
"""

import re
from collections.abc import Iterable, Mapping

from usad_workbench.core.clips import TEACHER_DOMAINS

_LITERAL = re.compile(r"'((?:[^']|'')*)'")


def same_domain(name: str, present: Iterable[str]) -> str:
    """The name as it is written here; without blanks around it where nothing here is like it.

    >>> same_domain(" Speech", ["music", "speech"]), same_domain("Birds ", ["speech"])
    ('speech', 'Birds')
    """
    domains = list(present)
    if name in domains:
        return name
    alike = [domain for domain in domains if _folded(domain) == _folded(name)]
    return min(alike) if alike else name.strip()


def settled_domains(
    found: Iterable[str | None], present: Iterable[str]
) -> dict[str | None, str | None]:
    """How domains are written: as those that are there, or as the first of them that is alike.

    Args:
        found: In the order in which they come.
        present: Those that are there.

    >>> settled_domains(["Speech ", "Whales", "whales"], [])
    {'Speech ': 'speech', 'Whales': 'Whales', 'whales': 'Whales'}
    """
    there = {*present, *TEACHER_DOMAINS}
    alike: dict[str, str] = {}
    for one in sorted(there, reverse=True):
        alike[_folded(one)] = one  # the least of those that are alike, as in ``same_domain``
    settled: dict[str | None, str | None] = {}
    for name in found:
        if name is None or name in there:
            settled[name] = name
        else:
            settled[name] = alike.setdefault(_folded(name), name.strip())
    return settled


def other_letters_in(where: str, present: Iterable[str]) -> dict[str, str]:
    """Texts of an SQL condition that are domains in other letters, and how these are written.

    >>> other_letters_in("domain = 'Speech' AND label <> 'x'", ["speech"])
    {'Speech': 'speech'}
    """
    known = set(present)
    found = {text: same_domain(text, known) for text in _LITERAL.findall(where)}
    return {text: name for text, name in found.items() if text not in known and name in known}


def describe_alike(counts: Mapping[str, int]) -> list[str]:
    """A warning for each set of domains that differ in letters or blanks only.

    >>> describe_alike({"speech": 90, "Speech": 30, "music": 9})
    ["'Speech' (30 clips) and 'speech' (90 clips) differ in letters only and are two domains here"]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(counts):
        groups.setdefault(_folded(name), []).append(name)
    return [
        " and ".join(f"{name!r} ({counts[name]} clips)" for name in names)
        + " differ in letters only and are two domains here"
        for names in groups.values()
        if len(names) > 1
    ]


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
