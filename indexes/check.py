"""Integrity of a workspace: what its tables say against what is there."""

from usad_workbench.core.errors import StoreError, UnknownNameError
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.core.storage.packs import unnamed_files as unnamed_audio
from usad_workbench.core.storage.schema import STAGED
from usad_workbench.core.storage.vector_reading import measure_table
from usad_workbench.core.storage.vector_tables import DIGEST_KIND
from usad_workbench.core.storage.workspace import Space, Workspace, find_space
from usad_workbench.indexes.files import open_index, unnamed_files


def check_workspace(workspace: Workspace, progress: Progress = no_progress) -> list[str]:
    """The problems of a workspace in words; an empty list if there are none.

    Looks at clips without segments or files, audio that changed since its import, copies
    of one recording that are told apart, encoders that miss segments, counts, finiteness and
    digests of every space, vectors that a killed command left, and index files.

    Args:
        workspace: What to look at.
        progress: Called after each audio file, within each space, and after each index.
    """
    problems = _clip_problems(workspace, progress) + _copy_problems(workspace)
    problems += [
        f"{file.relative_to(workspace.folder)} was unpacked and no clip names it: the import that was "
        "ended, run again, takes or removes it"
        for file in unnamed_audio(workspace)
    ]
    problems += _partial_problems(workspace) + _left_problems(workspace)
    problems += _annotation_problems(workspace)
    spaces = workspace.spaces()
    for number, space in enumerate(spaces.itertuples()):
        of_space = part_of(progress, number, len(spaces), f"{space.encoder} layer {space.layer}")
        key = (str(space.encoder), int(space.layer), str(space.pooling))
        problems += _space_problems(workspace, *key, of_space)
        of_space(1, 1, "check")
    return problems + _index_problems(workspace, progress)


def _clip_problems(workspace: Workspace, progress: Progress) -> list[str]:
    orphans = workspace.read(
        "SELECT clip_id FROM clips WHERE clip_id NOT IN (SELECT clip_id FROM segments)"
    )
    problems = [f"clip {clip_id} has no segment" for clip_id in orphans.clip_id]
    clips = workspace.read("SELECT clip_id, path, audio_sha256 FROM clips WHERE path <> ''")
    for done, (clip_id, path, digest) in enumerate(clips.itertuples(index=False), start=1):
        progress(done, len(clips), "check audio")
        file = workspace.audio_path(path)
        if not file.is_file():
            problems.append(f"the audio of clip {clip_id} is missing: {path}")
            continue
        if sha256_of_file(file) != digest:
            problems.append(f"the audio of clip {clip_id} changed since its import: {path}")
    return problems


def _copy_problems(workspace: Workspace) -> list[str]:
    """Clips of equal audio that are said to be of several labels, domains or clusters."""
    names = ("label", "domain", "cluster_id")
    told = ", ".join(
        f"list(DISTINCT {name} ORDER BY {name}) FILTER ({name} IS NOT NULL) AS {name}"
        for name in names
    )
    # Earlier versions did not hash samples: of them a copy of the file may know the hash.
    content = "coalesce(max(samples_digest) OVER (PARTITION BY audio_sha256), audio_sha256)"
    copies = workspace.read(
        f"SELECT list(clip_id ORDER BY clip_id) AS clip_ids, {told} FROM "
        f"(SELECT clip_id, {', '.join(names)}, {content} AS content FROM clips "
        "WHERE audio_sha256 IS NOT NULL) GROUP BY content HAVING count(*) > 1 ORDER BY 1"
    )
    problems = []
    for row in copies.to_dict("records"):
        differences = [
            f"{name} {' and '.join(map(repr, row[name]))}"
            for name in names
            if row[name] is not None and len(row[name]) > 1
        ]
        if differences:
            problems.append(
                f"clips {', '.join(row['clip_ids'])} hold the same audio but have "
                f"{'; '.join(differences)}: folds keep them together; give copies the same, or keep one"
            )
    return problems


def _partial_problems(workspace: Workspace) -> list[str]:
    """Encoders that have vectors of a part of the segments only."""
    rows = workspace.read(
        "SELECT encoder, pooling, min(n) AS least, max(n) AS most, "
        # What was embedded here can have no vector of a clip without audio.
        "(SELECT count(*) FROM segments_of_clips "
        "WHERE path <> '' OR s.sample_rate_hz = 0) AS total "
        "FROM spaces s GROUP BY encoder, pooling, sample_rate_hz HAVING least < total ORDER BY ALL"
    )
    return [
        f"{encoder} ({pooling}) has vectors of "
        f"{least if least == most else f'{least} to {most}'} of {total} segments: the same `usad "
        "embed` or `usad import-embeddings` adds the rest"
        for encoder, pooling, least, most, total in rows.itertuples(index=False)
    ]


def _left_problems(workspace: Workspace) -> list[str]:
    """Vectors that were to replace others when their command ended, or that still are."""
    rows = workspace.read(
        f"SELECT encoder, count(*) AS n FROM {STAGED} GROUP BY encoder ORDER BY encoder"
    )
    return [
        f"{encoder}: a command that replaces its vectors is at work, or was ended; {n} spaces have "
        "not taken their place. If none is at work, the next one clears them"
        for encoder, n in rows.itertuples(index=False)
    ]


def _annotation_problems(workspace: Workspace) -> list[str]:
    left = workspace.read(
        "SELECT segment_id, count(*) AS n FROM annotations ANTI JOIN segments USING (segment_id) "
        "GROUP BY segment_id ORDER BY segment_id"
    )
    return [
        f"{row.n} annotations are of segment {row.segment_id}, which is not there"
        for row in left.itertuples()
    ]


def _space_problems(
    workspace: Workspace, encoder: str, layer: int, pooling: str, progress: Progress
) -> list[str]:
    name = f"{encoder} layer {layer} ({pooling})"
    try:
        with workspace.database.read() as connection:
            space = find_space(connection, encoder, layer, pooling)
            total = max(2 * space.n, 1)
            found = measure_table(
                connection, space.space_id, lambda n: progress(min(n, space.n), total, "vectors")
            )
            (n_lost,) = connection.execute(
                f"SELECT count(*) FROM vectors_{space.space_id} ANTI JOIN segments "
                "USING (segment_id)"
            ).fetchone() or (0,)
    except UnknownNameError:  # replaced or removed while this looked on
        return []
    except StoreError as error:
        return [f"{name}: {error} Embed or import it again with --replace"]
    problems = []
    if found.n - n_lost != space.n:
        problems.append(
            f"{name}: the table says {space.n} vectors, {found.n - n_lost} belong to segments"
        )
    if found.n_segments != found.n:
        problems.append(f"{name}: a segment has more than one vector")
    if found.n_not_finite:
        problems.append(f"{name}: {found.n_not_finite} vectors are not finite")
    digest = space.digest or ""  # none, or one of schema 2: until a writer migrates it
    if digest.startswith(DIGEST_KIND) and found.digest != digest:
        problems.append(
            f"{name}: the vectors are not those that were stored. Embed or import it again with "
            "--replace"
        )
    progress(space.n, total, "array file")
    return problems + _array_problems(workspace, space)


def _array_problems(workspace: Workspace, space: Space) -> list[str]:
    """Array files whose content changed after it was found to be that of the space."""
    file = workspace.array_file(space)
    if not file.path.is_file() or file.check():
        return []
    name = file.path.relative_to(workspace.folder)
    return [
        f"{name} does not hold the vectors of its space: remove it, the next reader makes it again"
    ]


def _index_problems(workspace: Workspace, progress: Progress) -> list[str]:
    problems = []
    spaces = workspace.spaces()
    for done, space in enumerate(spaces.itertuples()):
        progress(done, len(spaces), "check indexes")
        key = (str(space.encoder), int(space.layer), str(space.pooling))
        problem = open_index(workspace, workspace.space(*key), is_hashed=True).problem
        if problem:
            problems.append(f"{problem} `usad index` builds it again.")
    if len(spaces):
        progress(len(spaces), len(spaces), "check indexes")
    left = [
        f"{file} is the index of no space: `usad index` removes it."
        for file in unnamed_files(workspace)
    ]
    return problems + left
