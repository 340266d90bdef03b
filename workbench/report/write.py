"""The report as one file: no script, no network, nothing but this program's own markup."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.errors import StoreError
from usad_workbench.core.files import write_whole
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.diagnosis.views import view_of
from usad_workbench.workbench.presenters.numbers import count, parameters
from usad_workbench.workbench.presenters.text import listing
from usad_workbench.workbench.report.markup import Html, join, tag
from usad_workbench.workbench.report.panel_section import panel_section
from usad_workbench.workbench.report.sounds import LIMIT_BYTES, Sounds
from usad_workbench.workbench.report.tables import pairs
from usad_workbench.workbench.report.verdict_section import verdict_section

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
    sections = []
    roles = _roles(diagnosis)
    for i, (name, panel) in enumerate(diagnosis.panels.items()):
        sounds.share_out(len(diagnosis.panels) - i)
        sections.append(panel_section(panel, asked.get(name, ""), roles, sounds, diagnosis.alpha))
    body = tag(
        "main",
        header(diagnosis, written_at or datetime.now(UTC)),
        contents(diagnosis),
        verdict_section(verdicts),
        participants(diagnosis, workspace, roles),
        warnings(diagnosis),
        *sections,
        tag(
            "section",
            tag("h2", "What this does not show"),
            tag("ul", *[tag("li", one) for one in LIMITS]),
            id="limits",
        ),
        tag(
            "section",
            tag("h2", "The rules"),
            tag("p", "Fixed before any number was looked at.", class_="lead"),
            tag("pre", rules_text),
            id="rules",
        ),
        provenance(diagnosis, workspace, sounds),
    )
    return _replace(Path(path), page(f"Diagnosis of {diagnosis.student}", body))


def page(title: str, body: Html) -> str:
    """A whole HTML document around a body."""
    # The style is this program's own file: the only content that is not escaped.
    style = tag("style", Html(STYLE.read_text(encoding="utf-8")))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        style,
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def header(diagnosis: Diagnosis, written_at: datetime) -> Html:
    """Who was diagnosed, on what."""
    known = [d + (" (unseen)" if d in diagnosis.unseen_domains else "") for d in diagnosis.domains]
    lines = [
        (
            f"{count(diagnosis.n_clips, 'clip')} from {count(diagnosis.n_clusters, 'cluster')} "
            f"in {listing(known) or 'no domain'}"
        ),
        (
            f"{count(len(diagnosis.teachers), 'teacher')}, "
            f"{count(len(diagnosis.controls), 'control')}, "
            f"{count(len(diagnosis.baselines), 'baseline')}"
        ),
    ]
    if diagnosis.selection:
        lines.append(f"only clips of the selection: {diagnosis.selection}")
    return tag(
        "header",
        tag("p", "USAD Workbench · teacher-bias diagnosis", class_="kicker"),
        tag(
            "h1",
            "What ",
            tag("span", diagnosis.student, class_="student-name"),
            " took from its teachers"
            if diagnosis.are_teachers_known
            else " shares with encoders that may have taught it",
        ),
        tag("p", ". ".join(lines) + ".", class_="lead"),
        tag("p", f"Written {written_at:%Y-%m-%d %H:%M} UTC", class_="note"),
    )


def contents(diagnosis: Diagnosis) -> Html:
    """Links to the parts."""
    links = [("verdicts", "Verdicts"), ("encoders", "Encoders")]
    for name, panel in diagnosis.panels.items():
        links.append((f"panel-{name}", view_of(name, panel.columns).title))
    links += [("limits", "Limits"), ("rules", "Rules"), ("provenance", "Provenance")]
    return tag("nav", *[tag("a", words, href=f"#{place}") for place, words in links])


def participants(diagnosis: Diagnosis, workspace: Workspace, roles: Mapping[str, str]) -> Html:
    """The encoders that take part, with their roles."""
    known = workspace.encoders().set_index("encoder").to_dict("index")
    head = ("encoder", "role here", "home domain", "layers", "parameters", "licence")
    rows = []
    for name, role in roles.items():
        about = known.get(name, {})
        values = (
            name,
            role,
            about.get("domain"),
            about.get("n_layers"),
            parameters(about.get("n_params")),
            about.get("licence"),
        )
        rows.append(tag("tr", *[tag("td", _plain(value)) for value in values]))
    table = tag(
        "table",
        tag("thead", tag("tr", *[tag("th", h, scope="col") for h in head])),
        tag("tbody", *rows),
    )
    who = "Teachers taught this student. Controls did not: they are the yardstick. "
    if not diagnosis.are_teachers_known:
        who = (
            "Who taught this student is not known: encoders with the role teacher stand in, and "
            "controls are the yardstick. "
        )
    return tag(
        "section",
        tag("h2", "Encoders"),
        tag(
            "p",
            who,
            "Baselines need no training. Layers named in a row are the student's, others are "
            "taken at the same relative depth.",
            class_="lead",
        ),
        tag("div", table, class_="scroll"),
        id="encoders",
    )


def warnings(diagnosis: Diagnosis) -> Html:
    """What to keep in mind with every number; each warning once."""
    found = list(dict.fromkeys(diagnosis.warnings))
    if not found:
        return join([])
    lines = [tag("li", one) for one in found]
    return tag("section", tag("h2", "Warnings"), tag("ul", *lines, class_="warnings"))


def provenance(diagnosis: Diagnosis, workspace: Workspace, sounds: Sounds) -> Html:
    """What the numbers were made from, enough to make them again."""
    made = dict(diagnosis.provenance)
    weights = made.pop("weights_sha256", {})
    rows: list[tuple[str, Any]] = [
        ("student", diagnosis.student),
        ("workspace", workspace.folder.name),
        ("selection", diagnosis.selection or "all clips that every encoder has"),
        ("seed", diagnosis.seed),
        ("student layers", ", ".join(map(str, diagnosis.layers))),
    ]
    for name, value in made.items():
        rows += _flat(name, value)
    return tag(
        "section",
        tag("h2", "Provenance"),
        tag("div", pairs(rows), class_="scroll"),
        tag("h3", "Weights (SHA-256)"),
        tag("div", pairs([(k, tag("code", v)) for k, v in weights.items()]), class_="scroll"),
        tag("p", sounds.describe_room(), class_="note"),
        id="provenance",
    )


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [
            (f"{name} {key}".removeprefix("settings "), _flat_value(v)) for key, v in value.items()
        ]
    return [(name.replace("_", " "), _flat_value(value))]


def _flat_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _plain(value: Any) -> str:
    return "–" if value is None or str(value) in ("nan", "<NA>") else str(value)


def _roles(diagnosis: Diagnosis) -> dict[str, str]:
    return {
        diagnosis.student: "student",
        **dict.fromkeys(diagnosis.teachers, "teacher"),
        **dict.fromkeys(diagnosis.controls, "control"),
        **dict.fromkeys(diagnosis.baselines, "baseline"),
    }


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
