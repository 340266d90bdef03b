"""The decision rules, read from TOML, so that a report can quote what decided.

``alpha`` and ``margin`` stand here alone: panels get them with the data, figures and
sentences with the diagnosis. Intervals are shown at 95% whatever ``alpha`` is; a rule reads
them at 1 - ``alpha`` (``verdicts.Estimate.at``).
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from usad_workbench.core.config import load_config
from usad_workbench.core.errors import ConfigError

MIN_CLIPS = 24
"""A domain with fewer clips has no neighbourhoods of 10 to compare."""
RULES_FILE = Path(__file__).with_name("rules.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureRules:
    """When a student counts as a mixture of its teachers' biases."""

    explained: float
    min_error_domains: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralRules:
    """When a student counts as more general than its teachers."""

    unseen_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FalsifiedRules:
    """When the claim of a universal encoder counts as falsified."""

    unseen_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class InheritanceRules:
    """When something counts as inherited, and when its absence counts as shown."""

    smallest_share: float
    """Of the similarity that everybody has: an excess that is ruled out from here on is a "no"."""
    home_weight: float
    """Share of the level that tests of teachers in their home domains have."""
    carried_share: float
    """Share of an excess that goes with a column from which on the column carries it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRules:
    """When the absence of copied errors counts as shown."""

    smallest_kappa: float
    """Over all classes of a task."""
    smallest_class_kappa: float
    """On the clips of one class."""

    def smallest_excess(self, kind: str) -> float:
        """The smallest excess that would count, by the kind of a row: ``task`` or ``class``."""
        return self.smallest_class_kappa if kind == "class" else self.smallest_kappa


@dataclass(frozen=True, kw_only=True, slots=True)
class InterventionRules:
    """When the absence of an inherited sensitivity counts as shown."""

    smallest_correlation: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AssociationRule:
    """An association test as four SQL conditions on the columns of ``clips``."""

    name: str
    x: str
    """First target, taken domain by domain."""
    y: str
    """Second target, taken domain by domain."""
    a: str
    """First attribute, of any domain."""
    b: str
    """Second attribute, of any domain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """All thresholds of the verdicts, and the tests that somebody adds to a panel."""

    alpha: float
    margin: float
    min_clips: int
    mixture: MixtureRules
    general: GeneralRules
    falsified: FalsifiedRules
    inheritance: InheritanceRules
    errors: ErrorRules
    interventions: InterventionRules
    associations: tuple[AssociationRule, ...] = ()
    """Beside the default tests of the panel."""

    def __post_init__(self) -> None:
        """Refuses thresholds that no number could meet or miss.

        Raises:
            ConfigError: a level or a share that is not within 0 to 1, a margin that no
                difference of accuracies could pass, a count below 1, or two association tests
                of one name.
        """
        if not 0 < self.alpha < 1:
            raise _wrong("alpha", self.alpha, "more than 0 and less than 1")
        if not 0 <= self.margin < 1:
            raise _wrong("margin", self.margin, "at least 0 and less than 1")
        shares = {
            "mixture.explained": self.mixture.explained,
            "general.unseen_share": self.general.unseen_share,
            "falsified.unseen_share": self.falsified.unseen_share,
            "inheritance.smallest_share": self.inheritance.smallest_share,
            "inheritance.home_weight": self.inheritance.home_weight,
            "inheritance.carried_share": self.inheritance.carried_share,
            "errors.smallest_kappa": self.errors.smallest_kappa,
            "errors.smallest_class_kappa": self.errors.smallest_class_kappa,
            "interventions.smallest_correlation": self.interventions.smallest_correlation,
        }
        for name, value in shares.items():
            if not 0 < value <= 1:
                raise _wrong(name, value, "more than 0 and at most 1")
        counts = {
            "min_clips": self.min_clips,
            "mixture.min_error_domains": self.mixture.min_error_domains,
        }
        for name, count in counts.items():
            if count < 1:
                raise _wrong(name, count, "a whole number from 1")
        names = [one.name for one in self.associations]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"The association tests are named {', '.join(names)}, expected each name once."
            )


def _wrong(name: str, value: float, expected: str) -> ConfigError:
    return ConfigError(f"{name} is {value}, expected {expected}. Change it in the rules.")


def percent(share: float) -> str:
    """A share for a sentence, with as many digits as it has.

    >>> percent(0.05), percent(0.005), percent(1 - 1e-4)
    ('5%', '0.5%', '99.99%')
    """
    return f"{100 * share:.6g}%"


def load_rules(path: str | Path | None = None) -> tuple[Rules, str]:
    """The rules and the text they were read from.

    Args:
        path: A TOML file with all keys of the shipped one, which is read where none is given.

    Raises:
        ConfigError: no such file, an unknown or missing key, or a value out of range.

    >>> load_rules()[0].alpha
    0.05
    """
    file = Path(path) if path else RULES_FILE
    rules = load_config(Rules, file)
    return rules, file.read_text(encoding="utf-8")


@cache
def shipped_rules() -> Rules:
    """The rules where nobody gives others.

    >>> shipped_rules().margin
    0.01
    """
    return load_rules()[0]


def rules_as_toml(rules: Rules) -> str:
    """Rules that were made in Python, as a file of them would read.

    >>> print(rules_as_toml(shipped_rules()).splitlines()[0])
    alpha = 0.05
    """
    tables, lines = [], []
    for name, value in asdict(rules).items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(f"{k} = {_as_toml(v)}" for k, v in value.items())]
        elif isinstance(value, tuple):
            for rule in value:
                tables += ["", f"[[{name}]]", *(f"{k} = {_as_toml(v)}" for k, v in rule.items())]
        else:
            lines.append(f"{name} = {_as_toml(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _as_toml(value: str | float) -> str:
    return json.dumps(value, ensure_ascii=False)
