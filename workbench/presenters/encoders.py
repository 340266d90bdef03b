"""Encoders in the order and the words in which every page offers them."""

from collections.abc import Mapping, Sequence

import pandas as pd

from usad_workbench.core.storage.contents import embedded_encoders, embedded_layers
from usad_workbench.core.storage.roles import roles_to
from usad_workbench.workbench.presenters.colours import ROLES
from usad_workbench.workbench.presenters.names import short_name
from usad_workbench.workbench.presenters.sql import Sql


def encoder_table(sql: Sql) -> pd.DataFrame:
    """Encoders by role, student first, with the number of layers that have vectors.

    The role is that to all students here together: a teacher taught one of them.
    """
    table = sql(
        "SELECT e.*, coalesce(s.n_spaces, 0) AS n_spaces FROM encoders e LEFT JOIN "
        "(SELECT encoder, count(*) AS n_spaces FROM spaces WHERE n > 0 GROUP BY encoder) s "
        "USING (encoder)"
    )
    table["role"] = table["encoder"].map({n: one.role for n, one in roles_to(sql).items()})
    order = {role: i for i, role in enumerate(ROLES)}
    key = table["role"].map(lambda role: order.get(role, len(order)))
    return table.assign(_key=key).sort_values(["_key", "encoder"]).drop(columns="_key")


def roles_of(sql: Sql) -> dict[str, str]:
    """The role of each encoder, in the order in which encoders are offered."""
    table = encoder_table(sql)
    return dict(zip(table["encoder"], table["role"], strict=True))


def roles_for(sql: Sql, student: str) -> dict[str, str]:
    """Roles as this student sees them: another student's teacher is a control here."""
    roles = roles_to(sql, student)
    return {name: roles[name].role for name in roles_of(sql)}


def participant_roles(
    student: str, teachers: Sequence[str], controls: Sequence[str], baselines: Sequence[str]
) -> dict[str, str]:
    """The role of each encoder of one diagnosis, in the order of their colours.

    >>> participant_roles("s", ["t"], ["c"], [])
    {'s': 'student', 't': 'teacher', 'c': 'control'}
    """
    return {
        student: "student",
        **dict.fromkeys(teachers, "teacher"),
        **dict.fromkeys(controls, "control"),
        **dict.fromkeys(baselines, "baseline"),
    }


def embedded(sql: Sql) -> list[str]:
    """Encoders that have vectors."""
    return embedded_encoders(sql, None)


def completely_embedded(sql: Sql) -> set[str]:
    """Encoders of which every segment has a vector."""
    rows = sql(
        "SELECT encoder FROM spaces WHERE pooling = 'mean' GROUP BY encoder "
        "HAVING min(n) >= (SELECT count(*) FROM segments)"
    )
    return set(rows["encoder"])


def missing_for_comparison(sql: Sql) -> str | None:
    """What a student's comparison with its teachers lacks, in a sentence; none where nothing."""
    here = embedded(sql)
    students = set(
        sql(
            "SELECT encoder AS name FROM encoders WHERE role = 'student' "
            "UNION SELECT student FROM distillation"
        )["name"]
    ) & set(here)
    if not students:
        return "No encoder with embeddings here is a student: there is nothing to compare."
    if len(here) == 1:
        return "Only the student has embeddings here: there is nothing to compare it with."
    return None


def student_of(sql: Sql) -> str | None:
    """A student to name in a command: one of the workspace, else one that is said to exist."""
    students = sql(
        "SELECT encoder AS name, 0 AS rank FROM encoders WHERE role = 'student' "
        "UNION ALL SELECT student, 1 FROM distillation ORDER BY rank, name LIMIT 1"
    )
    return None if students.empty else str(students["name"].iloc[0])


def named(encoder: str, roles: Mapping[str, str], names: Mapping[str, str]) -> str:
    """An encoder by its short name with its role, for lists to choose from.

    >>> named("hf:/a/model", {"hf:/a/model": "teacher"}, {"hf:/a/model": "model"})
    'teacher · model'
    """
    return f"{roles.get(encoder, 'encoder')} · {short_name(encoder, names)}"


def layers_of(sql: Sql, encoder: str, pooling: str = "mean") -> list[int]:
    """Layers of an encoder that have vectors."""
    return embedded_layers(sql, encoder, pooling)


def layer_names(sql: Sql, encoder: str) -> dict[int, str]:
    """What each layer is, where the encoder says so; else by its number."""
    rows = sql("SELECT n_layers, layer_names FROM encoders WHERE encoder = ?", [encoder])
    if rows.empty:
        return {}
    names: Sequence[str] | None = rows["layer_names"].iloc[0]
    depth = int(rows["n_layers"].iloc[0])
    given = list(names) if names is not None else []
    return {
        layer: f"{layer} · {given[layer]}" if layer < len(given) else f"{layer} of {depth}"
        for layer in range(depth + 1)
    }
