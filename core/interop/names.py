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

    >>> groups = families({"b.0.q.weight": (2, 2), "b.1.q.weight": (2, 2), "norm.bias": (2,)})
    >>> [family.pattern for family in groups]
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
        Family(pattern if len(names) > 1 else names[0], tuple(sorted(names, key=_number)), shapes)
        for (pattern, shapes), names in groups.items()
    ]


def match_names(
    ours: Shapes, published: Shapes, named: Mapping[str, str], unused: Sequence[str] = ()
) -> dict[str, str]:
    """The name of every tensor of our student to that of the checkpoint.

    Args:
        ours: Shapes of the student's tensors.
        published: Shapes of the checkpoint's.
        named: Families that shapes cannot tell apart, pattern of ours to pattern of theirs.
        unused: Patterns of theirs that the student has no use for.

    Raises:
        ConfigError: a name that does not exist, other shapes, or families that shapes alone
            cannot tell apart; with all of them, by name.

    >>> match_names({"a.weight": (2, 3)}, {"z.weight": (2, 3)}, {})
    {'a.weight': 'z.weight'}
    """
    left = {family.pattern: family for family in families(ours)}
    right = {family.pattern: family for family in families(published)}
    for pattern in unused:
        _take(right, pattern, "the checkpoint")
    _check_filled(named)
    pairs = []
    for own, match in named.items():
        pair = _take(left, own, "the student"), _take(right, match, "the checkpoint")
        if pair[0].kind != pair[1].kind:
            raise ConfigError(
                f"The map pairs {own} ({pair[0].words}) with {match} ({pair[1].words}). Expected "
                "the same shapes: correct the map, or the size of the student in it."
            )
        pairs.append(pair)
    pairs += told_by_shapes(list(left.values()), list(right.values()))
    done = {own.pattern for own, _ in pairs}, {match.pattern for _, match in pairs}
    _check_all(
        [family for name, family in left.items() if name not in done[0]],
        [family for name, family in right.items() if name not in done[1]],
    )
    return {
        _join(a, suffix): _join(b, suffix)
        for own, match in pairs
        for a, b in zip(own.members, match.members, strict=True)
        for suffix, _ in own.shapes
    }


def told_by_shapes(
    ours: Sequence[Family], published: Sequence[Family]
) -> list[tuple[Family, Family]]:
    """Pairs of families that are the only ones of their kind on both sides."""
    kinds = [family.kind for family in ours], [family.kind for family in published]
    return [
        (own, published[kinds[1].index(own.kind)])
        for own in ours
        if kinds[0].count(own.kind) == 1 and kinds[1].count(own.kind) == 1
    ]


def template(ours: Shapes, published: Shapes, given: Mapping[str, str] | None = None) -> str:
    """A map to fill in: what shapes tell is there, what they cannot has its candidates beside.

    Args:
        ours: Of our student's tensors.
        published: Of the checkpoint's.
        given: Names that were told before; they are filled in.
    """
    left, right = families(ours), families(published)
    told = told_by_shapes(left, right)
    paired = {own.pattern for own, _ in told}, {match.pattern for _, match in told}
    lines = ["[names]", "# told by shapes:"]
    lines += [f'# "{own.pattern}" = "{match.pattern}"' for own, match in told]
    for own in left:
        if own.pattern in paired[0]:
            continue
        candidates = [family.pattern for family in right if family.kind == own.kind]
        lines += [
            f"# {own.words}: one of {', '.join(candidates) or 'none of these shapes'}",
            f'"{own.pattern}" = "{(given or {}).get(own.pattern, "")}"',
        ]
    kinds = {family.kind for family in left}
    spare = [family.pattern for family in right if family.kind not in kinds]
    return "\n".join(
        [
            *lines,
            "",
            "# without a place in the student:",
            f"unused = {spare!r}".replace("'", '"'),
            "",
        ]
    )


def _take(families_left: dict[str, Family], pattern: str, whose: str) -> Family:
    if pattern not in families_left:
        left = f"one of {', '.join(sorted(families_left))}" if families_left else "no more names"
        raise ConfigError(
            f"The map names {pattern!r}, which is not left in {whose}. Expected {left}, each once."
        )
    return families_left.pop(pattern)


def _check_filled(named: Mapping[str, str]) -> None:
    open_ones = [own for own, other in named.items() if not other]
    if open_ones:
        raise ConfigError(
            f"The map leaves {len(open_ones)} of {len(named)} names empty: {', '.join(open_ones)}. "
            "Expected a name of the checkpoint behind each: a map that `--write-map` made has the "
            "candidates above it."
        )


def _check_all(ours: Sequence[Family], published: Sequence[Family]) -> None:
    if not ours and not published:
        return
    lines = []
    for kind in dict.fromkeys(family.kind for family in (*ours, *published)):
        own = [family for family in ours if family.kind == kind]
        rest = [family for family in published if family.kind == kind]
        words = (own or rest)[0].words
        lines.append(
            f"{words}: ours {', '.join(family.pattern for family in own) or 'none'}; "
            f"theirs {', '.join(family.pattern for family in rest) or 'none'}"
        )
    raise ConfigError(
        "Shapes alone do not tell which tensor is which:\n  " + "\n  ".join(lines) + "\nWrite each "
        "of ours under [names] of the map, and what has no place in the student under unused; "
        "`--write-map` makes a map to fill in."
    )


def _number(module: str) -> int:
    match = re.search(r"(?<=\.)\d+(?=\.|$)", module)
    return int(match.group()) if match else 0


def _join(module: str, suffix: str) -> str:
    return f"{module}.{suffix}" if suffix else module
