"""The verdict whether a student is more general than its teachers, or a mixture of their biases."""

from collections.abc import Mapping

from usad_workbench.core.diagnosis.rules import Rules, percent
from usad_workbench.core.diagnosis.shared_errors import SharedErrors
from usad_workbench.core.diagnosis.verdicts import (
    NOT_MEASURED,
    UNDECIDED,
    Estimate,
    Estimates,
    Verdict,
    describe_estimates,
    describe_limits,
    judged_estimates,
)

EXPLAINED_SHARE = "explained share"
"""Key of the evidence with the share of the student that the teachers explain, by domain."""
GAIN_OVER_MIXTURE = "gain over the mixture on unseen domains"
"""Key of the evidence with student minus mixture baseline, by domain."""


def general_or_mixture(
    explained: Estimates,
    gains: Estimates,
    errors: Mapping[str, SharedErrors],
    specificity: Estimate | None,
    rules: Rules,
) -> Verdict:
    """Whether the student is more general than its teachers, or a mixture of them.

    Args:
        explained: Share of the student that the teachers explain (corrected R2), per domain.
        gains: Student minus mixture baseline on the tasks of each unseen domain.
        errors: Whether it makes its teachers' mistakes above the controls, per domain.
        specificity: What it gains over its best teacher on taught domains minus the same on
            unseen ones.
        rules: Thresholds.

    >>> from usad_workbench.core.diagnosis.rules import load_rules
    >>> found = general_or_mixture({}, {}, {}, None, load_rules()[0])
    >>> found.verdict, found.evidence["explained share"]
    ('undecided', 'not measured')
    """
    mixture, general = rules.mixture, rules.general
    judged = judged_estimates(gains, rules)
    better = [d for d, g in judged.items() if g.is_above(0.0)]
    no_gain = [d for d, g in judged.items() if g.ci_high <= rules.margin]
    shared = [d for d, e in errors.items() if e.answer == "yes"]
    are_own = bool(errors) and all(e.answer == "no" for e in errors.values())
    is_explained = bool(explained) and all(e.value >= mixture.explained for e in explained.values())
    verdict = UNDECIDED
    if specificity is not None and specificity.at(rules.alpha).is_above(0.0):
        verdict = "benchmark-optimised"
    elif (
        is_explained
        and judged
        and len(no_gain) == len(judged)
        and len(shared) >= mixture.min_error_domains
    ):
        verdict = "mostly mixture"
    elif judged and len(better) >= general.unseen_share * len(judged) and are_own:
        verdict = "more general"
    rule = (
        f"mostly mixture: the teachers explain at least {percent(mixture.explained)} of the student in "
        f"every domain, its gain over the mixture baseline on unseen domains is at most "
        f"{percent(rules.margin)} (upper limit), and it shares errors above the controls in at least "
        f"{mixture.min_error_domains} domains (after correction over all teachers, tasks and "
        f"classes); more general: a gain above 0 in at least "
        f"{percent(general.unseen_share)} of the unseen domains, and in every tested domain an "
        f"excess of shared errors of {rules.errors.smallest_kappa:g} is ruled out, of "
        f"{rules.errors.smallest_class_kappa:g} in each class that could be asked; "
        f"benchmark-optimised: its lead over the best teacher is larger on taught than "
        f"on unseen domains; {describe_limits(rules)}; domains with fewer than {rules.min_clips} "
        "test clips decide nothing"
    )
    return Verdict(
        question="general-or-mixture",
        verdict=verdict,
        rule=rule,
        evidence={
            EXPLAINED_SHARE: describe_estimates(explained),
            GAIN_OVER_MIXTURE: describe_estimates(gains),
            "shared errors above controls": {d: e.words for d, e in errors.items()} or NOT_MEASURED,
            "lead on taught minus lead on unseen domains": NOT_MEASURED
            if specificity is None
            else specificity.describe(),
        },
    )
