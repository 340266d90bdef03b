"""Two processes at once leave what one encoder after the other leaves."""

from pathlib import Path

import numpy as np

from usad_workbench.core.embedding import EmbedReport, embed
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.parallel_embedding import embed_encoders
from usad_workbench.core.registry import load_encoder
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace

NAMES = ("log-mel-statistics", "mfcc-statistics")


def test_same_vectors_as_one_after_the_other(
    workspace: Workspace, tones: list[SourceClip], tmp_path: Path
) -> None:
    together, alone = workspace, Workspace.create(tmp_path / "alone")
    import_clips(alone, tones)
    seen: list[tuple[int, int]] = []
    found = embed_encoders(
        together,
        [*NAMES, "no-such-encoder"],
        n_processes=2,
        progress=lambda done, total, what: seen.append((done, total)),
    )
    n = len(together.clips())
    for name in NAMES:
        embed(alone, load_encoder(name))
        report = found[name]
        assert isinstance(report, EmbedReport)
        assert (report.n_done, report.failed) == (n, [])
        mine, theirs = (w.embeddings(name, 0) for w in (together, alone))
        np.testing.assert_array_equal(mine.segment_ids, theirs.segment_ids)
        np.testing.assert_array_equal(mine.vectors, theirs.vectors)
    assert isinstance(found["no-such-encoder"], UnknownNameError)
    assert seen[-1][0] == 2 * n


def test_done_work_is_not_done_again(workspace: Workspace) -> None:
    embed_encoders(workspace, NAMES[:1])
    (again,) = embed_encoders(workspace, NAMES[:1]).values()
    assert isinstance(again, EmbedReport)
    assert (again.n_done, again.n_skipped) == (0, len(workspace.clips()))
