"""The tables of results in README, pages and model card, from the numbers in ``docs/results``.

``python -m tests.docs.tables`` writes them between ``<!-- table NAME -->`` and ``<!-- end -->``;
``test_tables`` fails where a page holds anything else. The numbers are those of
``usad evaluate --workspace demo-workspace --against untrained-student``.
"""

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from usad_workbench.workbench.presenters.diagnosis.findings import findings

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGES = (
    ROOT / "README.md",
    ROOT / "docs" / "diagnosis.md",
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "scale.md",
    ROOT / "core" / "models" / "shipped" / "MODEL_CARD.md",
)
STUDENT = "usad-demo"
BEFORE = "1138 clips"
"""The sample data as they were with four copies in them; three seeds were evaluated on these alone."""
_MARKED = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_COLUMNS = (
    ("9", "value", "knn"),
    ("9", "value", "linear"),
    ("7", "value", "knn"),
    ("7", "value", "linear"),
    ("7", "minus untrained-student", "linear"),
    ("7", "minus teachers-concatenated", "linear"),
)
_HEAD = (
    "system",
    "parameters",
    "9 tasks: k-NN",
    "linear",
    "7 tasks: k-NN",
    "linear",
    "linear − untrained",
    "linear − concatenated",
)
Row = dict[str, str]


def read_results(name: str) -> list[Row]:
    """The rows of one file of ``docs/results``."""
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def markdown(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table of Markdown.

    >>> print(markdown(("a", "b"), [["1", "2"]]), end="")
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [f"| {' | '.join(row)} |" for row in [list(head), *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]) + "\n"


def means(*, before: bool = False) -> str:
    """Means over tasks, a row per system; of the sample data as they were before, if asked."""
    rows = [row for row in read_results("means") if (row["sample_data"] == BEFORE) is before]
    systems = dict.fromkeys((row["system"], row["seeds"]) for row in rows)
    return markdown(_HEAD, [_system(rows, *system) for system in systems])


def _system(rows: list[Row], system: str, seeds: str) -> list[str]:
    own = [row for row in rows if (row["system"], row["seeds"]) == (system, seeds)]
    by_column = {(row["tasks"], row["quantity"], row["protocol"]): row for row in own}
    millions = own[0]["n_params_millions"]
    cells = [number(by_column[column]) if column in by_column else "" for column in _COLUMNS]
    return [_label(system, seeds), f"{millions} M" if millions else "none", *cells]


def _label(system: str, seeds: str) -> str:
    name = system if " " in system else f"`{system}`"
    n = len(seeds.split())
    return f"{name}, {f'{n} seeds' if n > 1 else f'seed {seeds}'}" if seeds else name


def number(row: Row) -> str:
    """A value with its interval or range; a difference with its sign."""
    signed = row["quantity"] != "value"

    def shown(text: str) -> str:
        return f"+{text}" if signed and not text.startswith("-") else text

    text = shown(row["value"])
    if row["ci_low"]:
        text += f" [{shown(row['ci_low'])}, {shown(row['ci_high'])}]"
    if row["seed_low"]:
        text += f" ({row['seed_low']} to {row['seed_high']})"
    return text


def by_task() -> str:
    """The linear probe, task by task."""
    rows = read_results("tasks")
    systems = list(dict.fromkeys(row["system"] for row in rows))
    tasks = dict.fromkeys((row["task"], row["n_clips"], row["chance"]) for row in rows)
    values = {(row["task"], row["system"]): row["value"] for row in rows}
    head = ("task", "clips", "chance", *(_student(system) for system in systems))
    return markdown(head, [[*task, *(values[task[0], s] for s in systems)] for task in tasks])


def by_domain() -> str:
    """Means of the tasks of each domain."""
    rows = read_results("domains")
    systems = list(dict.fromkeys(row["system"] for row in rows))
    groups = dict.fromkeys((row["domain"], row["protocol"]) for row in rows)
    values = {(row["domain"], row["protocol"], row["system"]): row["value"] for row in rows}
    lines = [[f"{d}, {p}", *(values[d, p, s] for s in systems)] for d, p in groups]
    return markdown(("domain", *(_student(system) for system in systems)), lines)


def in_short() -> str:
    """What the README shows: the student, what it began as, and the best row, over seven tasks."""
    columns = _COLUMNS[3:5]
    rows = [row for row in read_results("means") if row["sample_data"] != BEFORE]
    lines = []
    for system, seeds in ((STUDENT, "0"), ("untrained-student", ""), ("teachers-concatenated", "")):
        cells = _system(rows, system, seeds)
        lines.append(cells[:2] + [cells[2 + _COLUMNS.index(column)] for column in columns])
    return markdown(("system", "parameters", "linear probe, 7 tasks", "minus untrained"), lines)


def _student(system: str) -> str:
    return f"`{system}`, seed 0" if system == STUDENT else f"`{system}`"


def million() -> str:
    """The steps of a million segments."""
    rows = read_results("million")
    head = ("step", "seconds", "processor seconds", "peak memory", "answer")
    lines = []
    for row in rows:
        memory = f"{float(row['peak_mb']) / 1000:.1f} GB" if float(row["peak_mb"]) else ""
        lines.append([row["step"], row["wall_s"], row["processor_s"], memory, row["answer"]])
    first = rows[0]
    note = (
        f"{int(first['segments']):,} segments × 2 spaces × 384, {first['machine']}, {first['date']}"
    )
    return f"{note}\n\n{markdown(head, lines)}"


def speed() -> str:
    """Every claim beside its peer, search and the app apart."""
    apart = (_SEARCH, _APP)
    found = read_results("speed")
    rows = [row for row in found if not any(one.match(row["name"]) for one in apart)]
    head = ("what", "here", "peer", "its value", "ratio")
    return markdown(
        head,
        [
            [
                row["name"],
                f"{_short(row['value'])} {row['unit']}",
                row["peer"],
                _short(row["peer_value"]),
                f"{float(row['ratio']):.2f}",
            ]
            for row in rows
        ],
    )


def speed_search() -> str:
    """Recall and costs of every index, ours first: a row each."""
    measures = ("recall@10", "a query, processor", "building, processor", "file")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in read_results("speed"):
        if match := _SEARCH.match(row["name"]):
            kind, size, measure = match.groups()
            found.setdefault((size, f"`{kind}`"), {}).setdefault(measure, row["value"])
            found.setdefault((size, row["peer"]), {})[measure] = row["peer_value"]
    ordered = sorted(found, key=lambda key: (int(key[0].replace(",", "")), key[1][0] != "`"))
    head = ("vectors", "index", "recall@10", "ms a query", "seconds to build", "MB of file")
    return markdown(
        head,
        [
            [*key, *(_short(found[key].get(measure, "nan")) for measure in measures)]
            for key in ordered
        ],
    )


def speed_app() -> str:
    """Processor seconds of each step of a person at each size; what was not done says so."""
    ours = "`usad workbench`"
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in read_results("speed"):
        if match := _APP.match(row["name"]):
            points, step, clock = match.groups()
            cells = found.setdefault((points, step), {})
            if row["peer"].endswith(_LATE):
                late = f"not within {_short(row['peer_value'])} s"
                cells[row["peer"].removesuffix(_LATE)] = late
            elif clock == "processor":
                cells |= {ours: _short(row["value"]), row["peer"]: _short(row["peer_value"])}
    peers = sorted({peer for cells in found.values() for peer in cells} - {ours})
    ordered = sorted(found.items(), key=lambda one: int(one[0][0].replace(",", "")))
    lines = [[*key, *(cells.get(peer, "") for peer in (ours, *peers))] for key, cells in ordered]
    return markdown(("points", "step", ours, *peers), lines)


_APP = re.compile(r"app, ([\d,]+) points, ([\w ]+), (\w+)$")
_LATE = ", not done by then"
_SEARCH = re.compile(r"search (\w+), ([\d,]+) × \d+, (.+)$")


def _short(text: str) -> str:
    """Three digits, or the whole of a larger number.

    >>> _short("0.98765"), _short("1234.5"), _short("12.345")
    ('0.988', '1,234', '12.3')
    """
    value = float(text)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def inherited() -> str:
    """What the demo's family has of each teacher, by domain."""
    rows = pd.DataFrame(read_answer()["inheritance"])
    head = (
        "teacher",
        "domain",
        "answer",
        "excess",
        "95% interval",
        "placebos",
        "clips",
        "clusters",
    )
    lines = []
    for one in findings(rows.astype({"excess": float, "ci_low": float, "ci_high": float})):
        row, gains = one.row, list((one.row["placebos"] or {}).values())
        is_known = not math.isnan(row["excess"])
        lines.append(
            [
                f"`{one.teacher}`",
                f"{one.domain}, its own" if one.is_home else one.domain,
                f"**{one.answer}**" if one.is_found else one.answer,
                f"{row['excess']:+.2f}" if is_known else "",
                f"[{row['ci_low']:+.2f}, {row['ci_high']:+.2f}]" if is_known else "",
                f"{min(gains):+.2f} to {max(gains):+.2f}" if gains else "",
                str(row["n_clips"]),
                str(row["n_clusters"]),
            ]
        )
    return markdown(head, lines)


def inherited_at_home() -> str:
    """The verdict of the demo's document in one sentence, and who it rests on."""
    answer = read_answer()
    (verdict,) = [one["verdict"] for one in answer["verdicts"] if one["question"] == "inherited"]
    rows = answer["inheritance"]
    n_peers = sorted({len(row["peers"]) for row in rows})
    peers = " to ".join(map(str, sorted({n_peers[0], n_peers[-1]})))
    n_families = max(row["n_families"] for row in rows)
    return (
        f"**{verdict[:1].upper() + verdict[1:]}**: {len(answer['students'])} students with all "
        f"teachers, {peers} without each, {n_families} families of placebos, "
        f"{answer['n_clips']:,} clips in {answer['n_clusters']} clusters.\n"
    )


def read_answer() -> dict[str, Any]:
    """The demo's document: the diagnosis of the family."""
    document: dict[str, Any] = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
    return document


TABLES: dict[str, Callable[[], str]] = {
    "in-short": in_short,
    "means": means,
    "means-three-seeds": lambda: means(before=True),
    "tasks": by_task,
    "domains": by_domain,
    "inherited": inherited,
    "inherited-in-short": inherited_at_home,
    "million": million,
    "speed": speed,
    "speed-search": speed_search,
    "speed-app": speed_app,
}


def with_tables(text: str) -> str:
    """A page with every marked table made anew."""
    return _MARKED.sub(lambda marked: marked[1] + TABLES[marked[2]]() + marked[3], text)


def write_tables() -> None:
    """Brings all pages up to date."""
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_tables()
