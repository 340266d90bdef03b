"""Tables of ``workspace.duckdb``.

Vectors lie in one table per space, ``vectors_<space_id>``, with a fixed-width column:
reading one layer of one encoder touches that layer alone, however many others there
are. ``embeddings`` is the view over all of them that people query; DuckDB drops the
branches that a filter on encoder or layer excludes before it reads anything.

``spaces`` lists what readers see. Vectors that are on their way to replace others are listed
in ``staged_spaces`` until they are complete. The number of a space is never given twice: who
has looked one up gets its vectors or an error, never those of another encoder.

Views name tables of the same file only, never files: they hold when the folder is
moved, copied or opened from another directory.
"""

import hashlib
import json

from usad_workbench.core.storage.row_types import declared_columns
from usad_workbench.core.storage.scores import ClipPrediction, ProbeScore

SCHEMA_VERSION = 3
"""Raised when a table changes in a way that older code would misread; ``migrations`` knows
how to read those of before."""

STAGED = "staged_spaces"
NEXT_SPACE = "next_space_id"
"""The key of ``meta`` under which the number of the next space stands."""
DECLARED = "declared_tables"
"""The key of ``meta`` that names the declarations which the file has: ``declared_digest``."""

_SPACE = (
    "space_id INTEGER PRIMARY KEY, encoder VARCHAR NOT NULL, layer INTEGER NOT NULL, "
    "pooling VARCHAR NOT NULL, segmentation VARCHAR NOT NULL, window_s DOUBLE NOT NULL, "
    "hop_s DOUBLE NOT NULL, sample_rate_hz INTEGER NOT NULL, dim INTEGER NOT NULL, "
    "weights_sha256 VARCHAR NOT NULL, code_version VARCHAR NOT NULL, n BIGINT NOT NULL, "
    "digest VARCHAR, precision VARCHAR DEFAULT 'float32'"
)

CLIP_COLUMNS: dict[str, str] = {
    "clip_id": "VARCHAR PRIMARY KEY",
    "path": "VARCHAR NOT NULL",
    "domain": "VARCHAR NOT NULL",
    "dataset": "VARCHAR NOT NULL",
    "cluster_id": "VARCHAR NOT NULL",
    "label": "VARCHAR",
    "duration_s": "DOUBLE",
    "sample_rate_hz": "INTEGER",
    "split": "VARCHAR",
    "audio_sha256": "VARCHAR",
    "samples_digest": "VARCHAR",
}
"""Columns that every clip has; metadata fields of a manifest become further columns."""

TABLES: dict[str, str] = {
    "meta": "key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL",
    "clips": ", ".join(f"{name} {kind}" for name, kind in CLIP_COLUMNS.items()),
    "segments": "segment_id BIGINT NOT NULL, clip_id VARCHAR NOT NULL, start_s DOUBLE NOT NULL, "
    "end_s DOUBLE NOT NULL, segmentation VARCHAR NOT NULL",
    "encoders": "encoder VARCHAR PRIMARY KEY, role VARCHAR NOT NULL, domain VARCHAR, "
    "n_layers INTEGER NOT NULL, dims INTEGER[] NOT NULL, frame_rates_hz DOUBLE[] NOT NULL, "
    "sample_rate_hz INTEGER NOT NULL, weights_sha256 VARCHAR NOT NULL, licence VARCHAR NOT NULL, "
    "n_params BIGINT, layer_names VARCHAR[], citation VARCHAR, family VARCHAR, "
    "architecture VARCHAR, training VARCHAR, training_seed BIGINT",
    "spaces": _SPACE,
    STAGED: f"{_SPACE}, run VARCHAR NOT NULL",
    "distillation": "student VARCHAR NOT NULL, teacher VARCHAR NOT NULL, domain VARCHAR, "
    "stage INTEGER NOT NULL",
    "tasks": "task VARCHAR PRIMARY KEY, label_column VARCHAR NOT NULL, domain VARCHAR, "
    "group_column VARCHAR NOT NULL, metric VARCHAR NOT NULL",
    "teacher_similarity": "student VARCHAR, student_layer INTEGER, teacher VARCHAR, "
    "teacher_layer INTEGER, domain VARCHAR, measure VARCHAR, value DOUBLE, ci_low DOUBLE, "
    "ci_high DOUBLE, null_kind VARCHAR, null_q95 DOUBLE, p_value DOUBLE, q_value DOUBLE, "
    "n_clips INTEGER, n_clusters INTEGER, reason VARCHAR, fingerprint VARCHAR",
    "clip_teacher_similarity": "student VARCHAR, student_layer INTEGER, teacher VARCHAR, "
    "teacher_layer INTEGER, clip_id VARCHAR, measure VARCHAR, value DOUBLE",
    "nearest_teachers": "student VARCHAR, domain VARCHAR, measure VARCHAR, teacher VARCHAR, "
    "student_layer INTEGER, teacher_layer INTEGER, value DOUBLE, ci_low DOUBLE, ci_high DOUBLE, "
    "control VARCHAR, control_value DOUBLE, difference DOUBLE, difference_ci_low DOUBLE, "
    "difference_ci_high DOUBLE, n_clips INTEGER, n_clusters INTEGER, statement VARCHAR",
    "projections": "encoder VARCHAR, layer INTEGER, pooling VARCHAR, method VARCHAR, "
    "segment_id BIGINT, x FLOAT, y FLOAT",
    "projection_quality": "encoder VARCHAR, layer INTEGER, pooling VARCHAR, method VARCHAR, "
    "n BIGINT, trustworthiness DOUBLE, n_judged BIGINT, seconds DOUBLE, settings VARCHAR",
    "indexes": "space_id INTEGER, kind VARCHAR, n BIGINT, file VARCHAR, file_sha256 VARCHAR, "
    "recall_at_10 DOUBLE, ms_per_query DOUBLE, bytes BIGINT, vectors_digest VARCHAR, "
    "metric VARCHAR, settings VARCHAR",
    "probes": declared_columns(ProbeScore),
    "predictions": declared_columns(ClipPrediction),
    # ``displacement`` is |f(x) - f(x')| as the encoder gives it; panels divide by a spread.
    "interventions": "encoder VARCHAR, layer INTEGER, intervention VARCHAR, strength DOUBLE, "
    "clip_id VARCHAR, displacement DOUBLE, cosine DOUBLE, code_version VARCHAR, "
    "weights_sha256 VARCHAR, seed BIGINT",
    "clip_loudness": "clip_id VARCHAR, loudness_db DOUBLE",
    "llm_results": "encoder VARCHAR, benchmark VARCHAR, task VARCHAR, metric VARCHAR, value DOUBLE",
    # What people did to segments: ``kind`` is tag, untag or note. See ``annotations``.
    "annotations": "edit_id BIGINT, kind VARCHAR, segment_id BIGINT, value VARCHAR, "
    "author VARCHAR, made_at TIMESTAMP",
    # What people did to labels of clips: see ``label_edits``.
    "label_edits": "edit_id BIGINT, clip_id VARCHAR, former VARCHAR, label VARCHAR, "
    "author VARCHAR, made_at TIMESTAMP",
    "failures": "item VARCHAR, step VARCHAR, reason VARCHAR",
}
"""Columns of each table, in the order of the contract, our own last.

The tables of a diagnosis are declared by the rows of its panels: see ``rows.write_rows``.
"""

SEGMENTS_OF_CLIPS = "segments_of_clips"
VIEWS: dict[str, str] = {
    SEGMENTS_OF_CLIPS: "SELECT s.segment_id, s.start_s, s.end_s, c.* "
    "FROM segments s JOIN clips c USING (clip_id)",
    "tags": "SELECT segment_id, value AS tag, arg_max(author, edit_id) AS author, "
    "arg_max(made_at, edit_id) AS made_at FROM annotations WHERE kind <> 'note' "
    "GROUP BY segment_id, value HAVING arg_max(kind, edit_id) = 'tag'",
    "notes": "SELECT segment_id, arg_max(value, edit_id) AS note, "
    "arg_max(author, edit_id) AS author, arg_max(made_at, edit_id) AS made_at "
    "FROM annotations WHERE kind = 'note' GROUP BY segment_id HAVING note <> ''",
}
"""Views beside ``embeddings``: every segment with all columns of its clip, new ones too; the tags
and notes that hold now."""

EMPTY_EMBEDDINGS = (
    "SELECT NULL::VARCHAR AS encoder, NULL::INTEGER AS layer, NULL::VARCHAR AS pooling, "
    "NULL::BIGINT AS segment_id, NULL::VARCHAR AS clip_id, NULL::FLOAT[] AS vector WHERE false"
)


def declared_types(table: str) -> dict[str, str]:
    """The SQL type of each column of a table, without constraints.

    >>> declared_types("failures")
    {'item': 'VARCHAR', 'step': 'VARCHAR', 'reason': 'VARCHAR'}
    """
    words = [column.split() for column in TABLES[table].split(", ")]
    return {name: kind for name, kind, *_ in words}


def declared_defaults(table: str) -> dict[str, str]:
    """SQL of what the columns of a table hold where nothing is said, by name; the others NULL.

    >>> declared_defaults("spaces")
    {'precision': "'float32'"}
    """
    columns = (column.partition(" DEFAULT ") for column in TABLES[table].split(", "))
    return {column.split()[0]: default for column, _, default in columns if default}


def declared_digest() -> str:
    """Changes with every table, column or view that is declared here."""
    return hashlib.sha256(json.dumps([TABLES, VIEWS]).encode()).hexdigest()[:16]


def quote(identifier: str) -> str:
    """An SQL identifier, quoted, whatever a manifest's header holds.

    >>> quote('we"ird')
    '"we""ird"'
    """
    escaped = identifier.replace('"', '""')
    return f'"{escaped}"'


def literal(text: str) -> str:
    """An SQL string literal, for the one place that takes no parameters: a view."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def embeddings_view(spaces: list[tuple[int, str, int, str]]) -> str:
    """SQL of the view ``embeddings`` over (space_id, encoder, layer, pooling)."""
    branches = [
        f"SELECT {literal(encoder)} AS encoder, {layer} AS layer, {literal(pooling)} AS pooling, "
        f"v.segment_id, s.clip_id, v.vector::FLOAT[] AS vector "
        f"FROM vectors_{space_id} v JOIN segments s USING (segment_id)"
        for space_id, encoder, layer, pooling in spaces
    ]
    body = " UNION ALL ".join(branches) or EMPTY_EMBEDDINGS
    return f"CREATE OR REPLACE VIEW embeddings AS {body}"
