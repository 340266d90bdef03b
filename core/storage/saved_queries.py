"""SQL that somebody keeps in a workspace, by name: a small file beside the tables."""

import json

from usad_workbench.core.errors import ConfigError, wrap_errors
from usad_workbench.core.files import written_at_once
from usad_workbench.core.storage.workspace import Workspace

QUERIES_FILE = "queries.json"
MAX_NAME, MAX_QUERIES = 80, 200


def saved_queries(workspace: Workspace) -> dict[str, str]:
    """The queries of a workspace by name, in the order of their names; none that cannot be read."""
    try:
        found = json.loads((workspace.folder / QUERIES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {str(name): str(found[name]) for name in sorted(found)} if isinstance(found, dict) else {}
    )


def save_query(workspace: Workspace, name: str, query: str) -> None:
    """Keeps a query under a name, in the place of the one that was there; an empty one is removed.

    Raises:
        ConfigError: a name without characters, or too long, or too many queries.
        StoreError: the file cannot be written.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME:
        raise ConfigError(f"Found a name of {len(name)} characters, expected 1 to {MAX_NAME}.")
    queries = saved_queries(workspace)
    queries.pop(name, None)
    if query.strip():
        queries[name] = query
    if len(queries) > MAX_QUERIES:
        raise ConfigError(f"Found {len(queries)} queries, at most {MAX_QUERIES}. Remove some.")
    path = workspace.folder / QUERIES_FILE
    with wrap_errors(path), written_at_once(path) as partial:
        partial.write_text(json.dumps(queries, ensure_ascii=False, indent=1), encoding="utf-8")
