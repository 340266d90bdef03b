"""The card that goes with an exported student: what it is, who taught it, its licence."""

import json

from usad_workbench.core.interop.source import LoadedStudent
from usad_workbench.core.models.sizes import count_parameters

HUB_LICENCES = frozenset(
    [
        "apache-2.0",
        "mit",
        "bsd-3-clause",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
    ]
)
"""Names that model hubs know; any other licence is ``other`` with its own name."""


def model_card(source: LoadedStudent, usage: str) -> str:
    """The text of README.md, with the front matter that model hubs read.

    Args:
        source: The student; its provenance is written out, nothing is guessed.
        usage: How to load this export.
    """
    config, record = source.student.config, source.provenance
    rows = [
        f"| {_cell(t.get('teacher'))} | {_cell(t.get('domain') or 'all')} | {_cell(t.get('stage', 1))} "
        f"| {_cell(t.get('target'))} | {_cell(t.get('licence'))} |"
        for t in record.get("teachers", [])
    ]
    teachers = "\n".join(
        ["| teacher | domain | stage | target | licence |", "|---|---|---|---|---|", *rows]
    )
    rest = {key: value for key, value in record.items() if key != "teachers"}
    n_params = count_parameters(config).total
    return f"""---
license: {json.dumps(_hub_licence(source.licence))}
license_name: {json.dumps(source.licence)}
library_name: transformers
pipeline_tag: feature-extraction
tags: [audio, usad]
---
# {_cell(source.name)}

A student of the kind of USAD and USAD 2.0 (arXiv 2506.18843, arXiv 2606.06444), trained with `usad-workbench`: {n_params:,} parameters in all, {config.n_layers} blocks of width {config.dim}, {config.frame_rate_hz} frames per second, waveform at 16 kHz in, {config.n_layers + 1} layers out. It shares no weights with the published checkpoints. sha256 of the weights it was made from: `{source.weights_sha256}`.

## Use
{usage}

Layer 0 enters the first block, layer i leaves block i (`hidden_states[i - 1]`). Frame i lies {_frame_times(config.frame_rate_hz)} behind the start.

## Teachers
{teachers if rows else "None are recorded."}

## Provenance
```json
{json.dumps(rest, indent=2, ensure_ascii=False, default=str)}
```

## Licence
Weights: {_cell(source.licence)}. Code: Apache-2.0.
"""


def _frame_times(frame_rate_hz: int) -> str:
    return f"{1000 // frame_rate_hz} ms × i + 12.5 ms"


def _hub_licence(licence: str) -> str:
    name = licence.lower().replace(" ", "-")
    return name if name in HUB_LICENCES else "other"


def _cell(value: object) -> str:
    """One line of text in a table, whatever a record holds."""
    return "-" if value is None else " ".join(str(value).split()).replace("|", "\\|")
