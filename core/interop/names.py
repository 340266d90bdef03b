"""Which tensor of a checkpoint is which of ours: told by shapes where they can, else by a map.

Tensors are grouped to modules (weight and bias belong together), and modules that differ only
in their first number to families: the same module of every block. A family of ours and one of
theirs belong together if no other on either side has its shapes and its count.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from usad_workbench.core.errors import ConfigError

Shapes = Mapping[str, tuple[int, ...]]
"""Tensors by name."""
_SUFFIXES = ("weight", "bias")
INDEX = "{i}"
"""In a pattern, the number that tells the modules of a family apart."""


@dataclass(frozen=True, slots=True)
class Family:
    """The same module of every block, or a single one."""

    pattern: str
    members: tuple[str, ...]
    """Modules in the order of their numbers."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    """Of the tensors of one, by what follows the module's name."""

    @property
    def kind(self) -> tuple[int, tuple[tuple[str, tuple[int, ...]], ...]]:
        """All that can be told without names."""
        return len(self.members), self.shapes

    @property
    def words(self) -> str:
        """For messages."""
        shapes = ", ".join(f"{suffix or 'tensor'} {list(shape)}" for suffix, shape in self.shapes)
        return f"{len(self.members)} × {shapes}"


def families(tensors: Shapes) -> list[Family]:
    """The families of a set of tensors, in their order.

    >>> found = families({"b.0.q.weight": (2, 2), "b.1.q.weight": (2, 2), "norm.bias": (2,)})
    >>> [one.pattern for one in found]
    ['b.{i}.q', 'norm']
    """
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in tensors.items():
        module, _, suffix = name.rpartition(".")
        module, suffix = (module, suffix) if suffix in _SUFFIXES else (name, "")
        modules.setdefault(module, {})[suffix] = tuple(shape)
    groups: dict[tuple[str, tuple[tuple[str, tuple[int, ...]], ...]], list[str]] = {}
    for module, shapes in modules.items():
        pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", INDEX, module, count=1)
        groups.setdefault((pattern, tuple(sorted(shapes.items()))), []).append(module)
    return [
        Family(pattern if len(found) > 1 else found[0], tuple(sorted(found, key=_number)), shapes)
        for (pattern, shapes), found in groups.items()
    ]


def match_names(
    ours: Shapes, theirs: Shapes, named: Mapping[str, str], unused: Sequence[str] = ()
) -> dict[str, str]:
    """Tensor of ours to tensor of theirs.

    Args:
        ours: Shapes of the student's tensors.
        theirs: Shapes of the checkpoint's.
        named: Families that shapes cannot tell apart, pattern of ours to pattern of theirs.
        unused: Patterns of theirs that the student has no use for.

    Raises:
        ConfigError: a name that does not exist, other shapes, or families that shapes alone
            cannot tell apart; with all of them, by name.

    >>> match_names({"a.weight": (2, 3)}, {"z.weight": (2, 3)}, {})
    {'a.weight': 'z.weight'}
    """
    left = {one.pattern: one for one in families(ours)}
    right = {one.pattern: one for one in families(theirs)}
    for pattern in unused:
        _take(right, pattern, "the checkpoint")
    _check_filled(named)
    pairs = []
    for mine, other in named.items():
        pair = _take(left, mine, "the student"), _take(right, other, "the checkpoint")
        if pair[0].kind != pair[1].kind:
            raise ConfigError(
                f"The map pairs {mine} ({pair[0].words}) with {other} ({pair[1].words}). Expected "
                "the same shapes: correct the map, or the size of the student in it."
            )
        pairs.append(pair)
    pairs += told_by_shapes(list(left.values()), list(right.values()))
    done = {mine.pattern for mine, _ in pairs}, {other.pattern for _, other in pairs}
    _check_all(
        [one for name, one in left.items() if name not in done[0]],
        [one for name, one in right.items() if name not in done[1]],
    )
    return {
        _join(a, suffix): _join(b, suffix)
        for mine, other in pairs
        for a, b in zip(mine.members, other.members, strict=True)
        for suffix, _ in mine.shapes
    }


def told_by_shapes(ours: Sequence[Family], theirs: Sequence[Family]) -> list[tuple[Family, Family]]:
    """Pairs of families that are the only ones of their kind on both sides."""
    kinds = [one.kind for one in ours], [one.kind for one in theirs]
    return [
        (mine, theirs[kinds[1].index(mine.kind)])
        for mine in ours
        if kinds[0].count(mine.kind) == 1 and kinds[1].count(mine.kind) == 1
    ]


def template(ours: Shapes, theirs: Shapes, given: Mapping[str, str] | None = None) -> str:
    """A map to fill in: what shapes tell is there, what they cannot has its candidates beside.

    Args:
        ours: Of our student's tensors.
        theirs: Of the checkpoint's.
        given: Names that were told before; they are filled in.
    """
    left, right = families(ours), families(theirs)
    told = told_by_shapes(left, right)
    known = {mine.pattern for mine, _ in told}, {other.pattern for _, other in told}
    lines = ["[names]", "# told by shapes:"]
    lines += [f'# "{mine.pattern}" = "{other.pattern}"' for mine, other in told]
    for mine in left:
        if mine.pattern in known[0]:
            continue
        candidates = [one.pattern for one in right if one.kind == mine.kind]
        lines += [
            f"# {mine.words}: one of {', '.join(candidates) or 'none of these shapes'}",
            f'"{mine.pattern}" = "{(given or {}).get(mine.pattern, "")}"',
        ]
    kinds = {one.kind for one in left}
    spare = [one.pattern for one in right if one.kind not in kinds]
    return "\n".join(
        [
            *lines,
            "",
            "# without a place in the student:",
            f"unused = {spare!r}".replace("'", '"'),
            "",
        ]
    )


def _take(known: dict[str, Family], pattern: str, whose: str) -> Family:
    if pattern not in known:
        left = f"one of {', '.join(sorted(known))}" if known else "no more names"
        raise ConfigError(
            f"The map names {pattern!r}, which is not left in {whose}. Expected {left}, each once."
        )
    return known.pop(pattern)


def _check_filled(named: Mapping[str, str]) -> None:
    open_ones = [mine for mine, other in named.items() if not other]
    if open_ones:
        raise ConfigError(
            f"The map leaves {len(open_ones)} of {len(named)} names empty: {', '.join(open_ones)}. "
            "Expected a name of the checkpoint behind each: a map that `--write-map` made has the "
            "candidates above it."
        )


def _check_all(ours: Sequence[Family], theirs: Sequence[Family]) -> None:
    if not ours and not theirs:
        return
    lines = []
    for kind in dict.fromkeys(one.kind for one in (*ours, *theirs)):
        mine = [one for one in ours if one.kind == kind]
        other = [one for one in theirs if one.kind == kind]
        words = (mine or other)[0].words
        lines.append(
            f"{words}: ours {', '.join(one.pattern for one in mine) or 'none'}; "
            f"theirs {', '.join(one.pattern for one in other) or 'none'}"
        )
    raise ConfigError(
        "Shapes alone do not tell which tensor is which:\n  " + "\n  ".join(lines) + "\nWrite each "
        "of ours under [names] of the map, and what has no place in the student under unused; "
        "`--write-map` makes a map to fill in."
    )


def _number(module: str) -> int:
    found = re.search(r"(?<=\.)\d+(?=\.|$)", module)
    return int(found.group()) if found else 0


def _join(module: str, suffix: str) -> str:
    return f"{module}.{suffix}" if suffix else module
