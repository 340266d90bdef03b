"""What could not be imported or embedded: the table ``failures``."""

from collections.abc import Collection, Mapping

import pyarrow as pa

from usad_workbench.core.storage.workspace import Workspace


def set_failures(
    workspace: Workspace,
    step: str,
    failed: Mapping[str, str],
    items: Collection[str] | None = None,
) -> None:
    """Replaces what is kept of the failures of a step.

    Args:
        workspace: Where.
        step: ``import``, or ``embed`` and the encoder.
        failed: Reason by item.
        items: Forgets only these; all of the step where none.
    """
    with workspace.database.read() as connection:
        stored = connection.execute("SELECT item FROM failures WHERE step = ?", [step]).fetchall()
    old = {item for (item,) in stored if items is None or item in items}
    if not old and not failed:
        return
    with workspace.database.write() as connection:
        connection.execute(
            "DELETE FROM failures WHERE step = ? AND list_contains(?, item)", [step, sorted(old)]
        )
        rows = pa.table(
            {
                "item": pa.array(failed, pa.string()),
                "reason": pa.array(failed.values(), pa.string()),
            }
        )
        connection.register("failed_items", rows)
        connection.execute("INSERT INTO failures SELECT item, ?, reason FROM failed_items", [step])
