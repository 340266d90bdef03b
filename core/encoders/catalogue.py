"""The catalogue of encoders: one row for each that has a name of its own. Free of torch.

Rows come from this package, from the Hugging Face hub (``hub.table``), from installed plugins,
and from the students that ship with the package or lie in the folder of a run.
"""

from __future__ import annotations

from usad_workbench.core.encoders.builtin import BUILTIN
from usad_workbench.core.encoders.hub.table import HUB
from usad_workbench.core.encoders.plugins import plugin_rows
from usad_workbench.core.encoders.row import EncoderRow
from usad_workbench.core.encoders.sources import WeightsSource
from usad_workbench.core.encoders.students import (
    RUN_PREFIX,
    SHIPPED_NAME,
    UNTRAINED_NAME,
    run_spec,
    shipped_spec,
    untrained_spec,
)
from usad_workbench.core.errors import UnknownNameError, did_you_mean

_STUDENTS = "usad_workbench.core.encoders.students"


def encoder_rows() -> dict[str, EncoderRow]:
    """The rows of all listed encoders by name, in the order in which they are listed.

    No plugin can take the name of an encoder of this package.

    >>> "wavlm-large" in encoder_rows(), "usad-demo" in encoder_rows()
    (True, True)
    """
    own = {**_package_rows(), **HUB}
    return {**own, **{name: row for name, row in plugin_rows().items() if name not in own}}


def setup_rows() -> dict[str, EncoderRow]:
    """The rows that ``make setup`` and ``get --all`` fetch, or that need no weights at all.

    The others are large, of the hub or of other packages: they are used when named.

    >>> "musicnn" in setup_rows(), "whisper-large-v3" in setup_rows()
    (True, False)
    """
    return {
        name: row
        for name, row in _package_rows().items()
        if row.source is None or isinstance(row.source, WeightsSource)
    }


def encoder_row(name: str) -> EncoderRow:
    """The row of one encoder: a listed one, or a student (``run:DIR``).

    Raises:
        UnknownNameError: no such encoder.
        CheckpointError: no such run or step, or a damaged one.

    >>> encoder_row("musicnn").spec.domain
    'music'
    """
    if name.startswith(RUN_PREFIX):
        return EncoderRow(spec=run_spec(name), loader=f"{_STUDENTS}:load_run")
    rows = encoder_rows()
    if name not in rows:
        raise UnknownNameError(
            f"{name} is no known encoder. {did_you_mean(name, rows)} "
            f"A trained student is named {RUN_PREFIX}DIR or {RUN_PREFIX}DIR@STEP, a model of "
            "transformers hf:FOLDER or hf:OWNER/NAME."
        )
    return rows[name]


def _package_rows() -> dict[str, EncoderRow]:
    shipped = EncoderRow(spec=shipped_spec(), loader=f"{_STUDENTS}:load_shipped")
    untrained = EncoderRow(spec=untrained_spec(), loader=f"{_STUDENTS}:load_untrained")
    return {SHIPPED_NAME: shipped, **BUILTIN, UNTRAINED_NAME: untrained}
