"""How each panel of a diagnosis is read and drawn: one description for app and report."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from usad_workbench.core.similarity.significance import ALPHA

Kind = Literal["curves", "dots", "shares", "maps", "table"]
SERIES = ("teacher", "encoder", "system", "name", "other")
"""Columns that say who a row is about, the first that is there."""
NOT_VALUES = frozenset(
    {
        "ci_low",
        "ci_high",
        "p_value",
        "q_value",
        "pair_p_value",
        "chance",
        "null_q95",
        "fit_r2",
        "n_params",
        "rtf",
        "n_clips",
        "n_clusters",
        "n_test",
    }
)
ANSWERS = ("inherited", "copied")
"""Columns in which a panel says itself whether a row stands out."""
SHOWN = ("yes", "fragility", "invariance")
"""Answers there of a row that does."""
NOT_KEYS = frozenset(
    {*ANSWERS, "reason", "p_kind", "null_kind", "flag", "metric", "warning", "statement"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelView:
    """How one panel is shown."""

    title: str
    value: str
    """Column with the number that is drawn."""
    axis: str
    """What that number is, in words."""
    figure: Kind = "dots"
    series: str = ""
    """Column that says who a row is about."""
    series_more: tuple[str, ...] = ()
    """Further columns of that name, such as the strength of a change."""
    low: str = "ci_low"
    high: str = "ci_high"
    """Columns with the limits of the value's interval."""
    where: tuple[str, str] | None = None
    """The rows that it shows: a column and its value; all where none."""
    facets: tuple[str, ...] = ()
    """Columns that make the facets of the figure."""
    choices: tuple[str, ...] = ()
    """Columns of which the figure draws one value at a time, such as the measure."""
    reference: str | float | None = 0.0
    """Level of no effect: a number, or the column that has it."""
    null: str = ""
    """What its p-values are against, in words."""
    reading: str = ""
    """How to read the figure, and what it does not show."""
    parts: tuple[str, ...] = ()
    """Columns of shares that are stacked: maps by name, or numbers."""
    alpha: float = ALPHA
    """False discovery rate at which a row stands out (Benjamini-Hochberg within its panel)."""


VIEWS: dict[str, PanelView] = {
    "similarity": PanelView(
        title="Similarity",
        value="value",
        axis="similarity",
        figure="maps",
        series="teacher",
        facets=("domain",),
        choices=("measure",),
        reference="null_q95",
        null="the same clips exchanged within clusters",
        reading="Each small map is one encoder in one domain: the student's layers upwards, the "
        "other encoder's layers across, darker is more alike. Similar is not inherited: encoders "
        "trained apart on the same kind of audio grow alike too, and so do baselines.",
    ),
    "inheritance": PanelView(
        title="Inheritance",
        value="excess",
        axis="excess over peers and placebos",
        figure="curves",
        series="teacher",
        facets=("domain",),
        choices=("measure", "form"),
        reading="What the student gained over its peers (students of the same recipe without this "
        "teacher) in similarity to the teacher, minus what it gained with placebos, encoders that never "
        "taught it. Zero: as near as anybody would be. A filled mark stands out from peers and from "
        "placebos after correction over the panel, on other clips too, and no column carries it. Without "
        "peers or placebos there is no mark, and the table says what is missing.",
    ),
    "attribution": PanelView(
        title="Attribution",
        value="fit_r2",
        axis="share of the fit to the student's geometry",
        figure="shares",
        facets=("domain",),
        parts=("shares", "novel"),
        reference=None,
        reading="The student's geometry fitted as a mixture of its teachers', which is not where "
        "it came from: encoders that were trained apart fit each other too. So encoders that never "
        "taught are offered beside the teachers. Pale bars are not to be read: these get more than "
        "0.1, two teachers have one geometry, or the mixture fits badly. The table says which.",
    ),
    "variance": PanelView(
        title="Variance",
        value="residual",
        axis="share of the student's variance",
        figure="shares",
        facets=("domain",),
        parts=("unique", "shared", "residual"),
        reading="What a linear map from the teachers predicts of the student on clips of other "
        "speakers, tracks or recordings: from one teacher alone, from several, from none. The "
        "residual is an upper bound of what is new, as few clips and curved maps add to it.",
    ),
    "errors": PanelView(
        title="Shared errors",
        value="excess",
        low="excess_ci_low",
        high="excess_ci_high",
        axis="κ above the controls",
        series="teacher",
        facets=("task",),
        choices=("protocol", "form"),
        where=("kind", "task"),
        reading="Whether the student is wrong on the same clips as a teacher, above what controls "
        "share with it. All encoders share what is hard; only the excess speaks of copying. "
        "A filled mark stands out after correction over all teachers, tasks and classes.",
    ),
    "routing": PanelView(
        title="One encoder or routing",
        value="value",
        axis="value on held-out clips",
        series="system",
        facets=("domain", "task"),
        choices=("protocol",),
        reference=None,
        reading="One universal encoder beside specialists, mixtures and routers, on the same "
        "folds. The table has what each costs.",
    ),
    "nuisance": PanelView(
        title="Nuisance factors",
        value="accuracy",
        axis="accuracy of a linear probe",
        series="encoder",
        facets=("factor",),
        reference="chance",
        reading="What can be read out that a task does not need. Selectivity is the accuracy "
        "above that on labels dealt to clusters at random. Folds keep clusters whole, so no probe "
        "can learn such labels: it is the distance from chance with these clusters, not what a "
        "probe could have memorised. After erasure a probe should fall to chance.",
    ),
    "associations": PanelView(
        title="Associations",
        value="d",
        axis="effect size d",
        series="encoder",
        facets=("test",),
        reading="Whether one group of clips lies nearer to one kind of sound than another group "
        "does, in standard deviations. Groups may differ in how they were recorded.",
    ),
    "subgroups": PanelView(
        title="Subgroups",
        value="gap",
        axis="best minus worst group",
        series="encoder",
        facets=("task", "group_column"),
        choices=("protocol",),
        reference="null_gap",
        reading="How much worse the worst served group is than the best. The largest of many "
        "differences is above zero by chance alone: the grey tick is what groups dealt at random "
        "give.",
    ),
    "neighbourhoods": PanelView(
        title="Neighbourhoods",
        value="purity",
        axis="share of neighbours with the same label",
        series="encoder",
        facets=("domain",),
        reference="purity_expected",
        reading="Whether a clip's neighbours share its label, whether some clips are everybody's "
        "neighbours (hubs), and whether neighbours come from other domains.",
    ),
    "shortcuts": PanelView(
        title="Shortcuts",
        value="excess",
        axis="above chance",
        series="encoder",
        facets=("domain", "attribute"),
        reading="Whether neighbours share what is not content: corpus, loudness, bandwidth, "
        "length.",
    ),
    "partial": PanelView(
        title="Partial similarity",
        value="value",
        axis="partial similarity",
        figure="curves",
        series="teacher",
        facets=("domain",),
        reading="What is left of the similarity to one teacher once the other teachers are held "
        "fixed. It tells teachers apart; it is no test of inheritance.",
    ),
    "disagreements": PanelView(
        title="Where measures disagree",
        value="n_nearest",
        axis="teachers named nearest",
        figure="table",
        facets=("domain",),
        reference=None,
        reading="The nearest teacher by each family of measures. Where they name different ones, "
        "what one of them says is no finding.",
    ),
    "interventions": PanelView(
        title="Interventions",
        value="excess",
        axis="likeness of profiles above the controls",
        figure="curves",
        series="teacher",
        facets=("domain",),
        where=("kind", "profile"),
        reading="Each clip is changed in one known way and embedded again. How far it moves, "
        "change by change, is an encoder's profile of sensitivities; here the student's is "
        "compared with each teacher's, above the controls'.",
    ),
    "comparison": PanelView(
        title="Comparison of two students",
        value="difference",
        axis="metric of this student minus the other's",
        series="name",
        facets=("domain",),
        where=("kind", "task"),
        reading="What can be read from this student minus what can be read from the other, on the "
        "same clips and folds; zero: no difference. Differences between stages or checkpoints of "
        "one student are what training changed, between others they are differences of two "
        "trainings.",
    ),
}


MORE_VIEWS: dict[str, tuple[PanelView, ...]] = {
    "errors": (
        PanelView(
            title="Shared errors by class",
            value="excess",
            low="excess_ci_low",
            high="excess_ci_high",
            axis="κ above the controls, in one class",
            series="teacher",
            facets=("task", "true_class"),
            choices=("protocol", "form"),
            where=("kind", "class"),
            reading="The same on the clips of one class, where it has enough errors: mistakes that "
            "are copied in one class are lost among all others.",
        ),
    ),
    "neighbourhoods": (
        PanelView(
            title="Hubs",
            value="hubness",
            low="hubness_ci_low",
            high="hubness_ci_high",
            axis="skewness of how often a clip is a neighbour",
            series="encoder",
            facets=("domain",),
            reference=None,
        ),
    ),
    "comparison": (
        PanelView(
            title="Likeness to each encoder",
            value="difference",
            axis="similarity of this student minus the other's",
            series="name",
            facets=("domain",),
            choices=("quantity",),
            where=("kind", "similarity"),
            reading="Both students at the same relative depth. Above zero: this student is more "
            "like that encoder than the other student is.",
        ),
        PanelView(
            title="Mistakes of both",
            value="value",
            axis="Cohen's kappa of being right",
            series="name",
            facets=("domain",),
            reference=None,
            where=("kind", "errors"),
            reading="How often both students are right or wrong on the same clips, above what "
            "their accuracies give (zero). Clips that are hard for everybody raise it too.",
        ),
    ),
    "interventions": (
        PanelView(
            title="Sensitivity to each change",
            value="displacement",
            axis="how far clips move / how far a class spreads",
            series="intervention",
            series_more=("strength", "unit"),
            facets=("domain",),
            choices=("encoder",),
            reference=None,
            where=("kind", "sensitivity"),
        ),
        PanelView(
            title="Causes",
            value="excess",
            axis="displacement above the controls'",
            series="intervention",
            series_more=("strength", "unit"),
            facets=("domain",),
            choices=("teacher",),
            where=("kind", "cause"),
        ),
    ),
}


def views_of(name: str, columns: Mapping[str, str], alpha: float = ALPHA) -> list[PanelView]:
    """All ways in which a panel is shown, the main one first; alpha is that of its diagnosis."""
    more = (v for v in MORE_VIEWS.get(name, ()) if v.value in columns)
    return [replace(view, alpha=alpha) for view in (view_of(name, columns), *more)]


def view_of(name: str, columns: Mapping[str, str]) -> PanelView:
    """How a panel is shown: as described above where its columns are there, else by its columns.

    >>> view_of("new", {"encoder": "VARCHAR", "task": "VARCHAR", "gain": "DOUBLE"}).value
    'gain'
    """
    described = VIEWS.get(name)
    numbers = [c for c, kind in columns.items() if kind == "DOUBLE" and c not in NOT_VALUES]
    series = next((c for c in SERIES if c in columns), "")
    title = described.title if described else name.replace("_", " ").capitalize()
    reading = described.reading if described else ""
    if described and {described.value, *described.parts} <= set(columns):
        wanted = described.series if described.series in columns else series
        return replace(described, series=wanted) if described.series else described
    value = next(iter(numbers), "value")
    facet = next(
        (c for c in ("task", "factor", "test", "domain", "kind") if c in columns and c != series),
        "",
    )
    texts = [c for c, kind in columns.items() if kind == "VARCHAR" and c not in NOT_KEYS]
    return PanelView(
        choices=tuple(c for c in texts if c not in (series, facet)),
        title=title,
        value=value,
        axis=value.replace("_", " "),
        series=series,
        reading=reading,
        facets=(facet,) if facet else (),
        reference="chance" if "chance" in columns else 0.0,
    )
