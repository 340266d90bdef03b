"""The report as one file: no script, no network, nothing but this program's own markup."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.errors import StoreError
from usad_workbench.core.files import write_whole
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.diagnosis import placebo_strip
from usad_workbench.workbench.presenters.diagnosis.views import view_of
from usad_workbench.workbench.presenters.encoders import participant_roles
from usad_workbench.workbench.presenters.numbers import MISSING, count, is_missing, parameters
from usad_workbench.workbench.presenters.text import listing
from usad_workbench.workbench.report.panel_section import panel_section
from usad_workbench.workbench.report.rendering import render
from usad_workbench.workbench.report.sounds import LIMIT_BYTES, Sounds
from usad_workbench.workbench.report.svg import SYMBOLS
from usad_workbench.workbench.report.verdict_section import verdict_card

STYLE = Path(__file__).parents[1] / "assets" / "report.css"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
"""What the file may load: what is inside it, and no script at all."""
LIMITS = (
    (
        "Everything here is observed, not caused: only a student that is trained without a teacher "
        "shows what that teacher did."
    ),
    (
        "Controls stand in for what any encoder of the domain learns; few of them are at hand, and "
        "they differ from the teachers in size and data."
    ),
    (
        "All shares are linear and geometric. They say what can be predicted, not what a later model "
        "will use."
    ),
    "One vector stands for a clip: what happens within it is averaged away.",
    "A number that does not stand out may be small, or may lack clips: look at its interval.",
)


def write_report(
    path: str | Path,
    diagnosis: Diagnosis,
    verdicts: Sequence[Verdict],
    rules_text: str,
    workspace: Workspace,
    *,
    questions: Mapping[str, str] | None = None,
    sound_limit_bytes: int = LIMIT_BYTES,
    written_at: datetime | None = None,
) -> Path:
    """Writes the report of a diagnosis: verdicts, one section per panel, rules, provenance.

    Args:
        path: The HTML file; replaced as a whole where it is there.
        diagnosis: All panels.
        verdicts: What follows from them.
        rules_text: The TOML of the rules, quoted.
        workspace: Where the clips and their sound are.
        questions: What each panel asks, by its name; those of the known panels where none.
        sound_limit_bytes: Room for sounds and pictures in the file.
        written_at: Time in the report; now where none.

    Raises:
        StoreError: the file cannot be written.
    """
    sounds = Sounds(workspace, sound_limit_bytes)
    asked = _questions() | dict(questions or {})
    roles = participant_roles(
        diagnosis.student, diagnosis.teachers, diagnosis.controls, diagnosis.baselines
    )
    inheritance = diagnosis.rows_of(InheritanceRow)
    sections = []
    for i, (name, panel) in enumerate(diagnosis.panels.items()):
        sounds.share_out(len(diagnosis.panels) - i)
        section = panel_section(panel, asked.get(name, ""), roles, sounds, diagnosis.alpha)
        sections.append(render("panel.html", panel=section, symbols=SYMBOLS))
    document = render(
        "report.html",
        # The style is this program's own file: the only content that is not escaped.
        style=Markup(STYLE.read_text(encoding="utf-8")),
        policy=POLICY,
        diagnosis=diagnosis,
        title=title_of(diagnosis, verdicts),
        lead=_lead(diagnosis),
        written_at=f"{written_at or datetime.now(UTC):%Y-%m-%d %H:%M}",
        contents=_contents(diagnosis),
        verdicts=[
            verdict_card(verdict, inheritance if verdict.question == "inherited" else ())
            for verdict in verdicts
        ],
        strips=placebo_strip.HELP,
        participants=participants(workspace, roles),
        warnings=list(dict.fromkeys(diagnosis.warnings)),
        sections=sections,
        limits=LIMITS,
        rules_text=rules_text,
        provenance=_provenance(diagnosis, workspace),
        weights=_weights(diagnosis),
        room=sounds.describe_room(),
        symbols=SYMBOLS,
    )
    return _replace(Path(path), str(document))


def title_of(diagnosis: Diagnosis, verdicts: Sequence[Verdict]) -> str:
    """What the report is about, after "What STUDENT": only a test makes a likeness a debt."""
    if not diagnosis.are_teachers_known:
        return "shares with encoders that may have taught it"
    is_shown = any(
        v.question == "inherited" and v.verdict.startswith("inherited") for v in verdicts
    )
    return "took from its teachers" if is_shown else "has in common with its teachers"


def _lead(diagnosis: Diagnosis) -> str:
    """On what the student was diagnosed, in sentences."""
    domains = [
        domain + (" (unseen)" if domain in diagnosis.unseen_domains else "")
        for domain in diagnosis.domains
    ]
    sentences = [
        (
            f"{count(diagnosis.n_clips, 'clip')} from {count(diagnosis.n_clusters, 'cluster')} "
            f"in {listing(domains) or 'no domain'}"
        ),
        (
            f"{count(len(diagnosis.teachers), 'teacher')}, "
            f"{count(len(diagnosis.controls), 'control')}, "
            f"{count(len(diagnosis.baselines), 'baseline')}"
        ),
    ]
    if diagnosis.selection:
        sentences.append(f"only clips of the selection: {diagnosis.selection}")
    return ". ".join(sentences) + "."


def _contents(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """The sections that the report links to: their anchor and their title."""
    panels = [
        (f"panel-{name}", view_of(name, panel.columns).title)
        for name, panel in diagnosis.panels.items()
    ]
    last = [("limits", "Limits"), ("rules", "Rules"), ("provenance", "Provenance")]
    return [("verdicts", "Verdicts"), ("encoders", "Encoders"), *panels, *last]


@dataclass(frozen=True, kw_only=True, slots=True)
class Participants:
    """The encoders that take part, a row each."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def participants(workspace: Workspace, roles: Mapping[str, str]) -> Participants:
    """The encoders that take part, with their roles."""
    registered = workspace.encoders().set_index("encoder").to_dict("index")
    rows = []
    for name, role in roles.items():
        about = registered.get(name, {})
        values = (
            name,
            role,
            about.get("domain"),
            about.get("n_layers"),
            parameters(about.get("n_params")),
            about.get("licence"),
        )
        rows.append(tuple(MISSING if is_missing(value) else str(value) for value in values))
    return Participants(
        headings=("encoder", "role here", "home domain", "layers", "parameters", "licence"),
        rows=tuple(rows),
    )


def _provenance(diagnosis: Diagnosis, workspace: Workspace) -> list[tuple[str, str]]:
    """What the numbers were made from, enough to make them again."""
    rows = [
        ("student", diagnosis.student),
        ("workspace", workspace.folder.name),
        ("selection", diagnosis.selection or "all clips that every encoder has"),
        ("seed", str(diagnosis.seed)),
        ("student layers", ", ".join(map(str, diagnosis.layers))),
    ]
    for name, value in asdict(diagnosis.provenance).items():
        rows += [] if name == "weights_sha256" else _flat(name, value)
    return rows


def _weights(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """The hash of each encoder's weights."""
    return list(diagnosis.provenance.weights_sha256.items())


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [
            (f"{name} {key}".removeprefix("settings "), _flat_value(v)) for key, v in value.items()
        ]
    return [(name.replace("_", " "), _flat_value(value))]


def _flat_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _questions() -> dict[str, str]:
    from usad_workbench.core.diagnosis import comparison
    from usad_workbench.core.diagnosis.panels import PANELS

    return {kind.name: kind.question for kind in PANELS} | {comparison.NAME: comparison.QUESTION}


def _replace(path: Path, content: str) -> Path:
    """Writes the report, of which a reader never sees half."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise StoreError(
            f"The report cannot be written to {path}: {error}. Name a file in a folder that you "
            "may write to."
        ) from error
    return path
