"""A small workspace with everything the app shows, made with the real API.

Audio of four kinds whose spectra differ, encoders that look at it through different
bands, and the tables that the diagnostics fill. Everything is a function of the seed.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf
import torch
from torch import Tensor

from usad_workbench.core import load_encoder
from usad_workbench.core.clips import Samples
from usad_workbench.core.diagnosis.sentences import describe_nearest
from usad_workbench.core.embedding import embed
from usad_workbench.core.models.encoder import Encoder, LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec, Role
from usad_workbench.core.similarity import (
    EncoderRole,
    LayerMatrix,
    Measure,
    layer_similarity,
    nearest_teachers,
)
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import evaluate_index, project_space, update_index

RATE_HZ = 16_000
DOMAINS = ("speech", "sound", "music", "effects")
SCRIPT_ID = "<script>window.executed=1</script>"
SCRIPT_LABEL = "<img src=x onerror=window.executed=1> **bold** [link](http://example.org)"
STUDENT = "tiny-student"
MEASURES: tuple[Measure, ...] = ("debiased_linear_cka", "mutual_knn")


class BandEncoder(Encoder):
    """Log spectrum through a seeded map, layer by layer: content decides, not order."""

    def __init__(self, name: str, role: Role, domain: str | None, bands: slice, seed: int) -> None:
        n_layers = 4 if role == "student" else 3
        self.spec = EncoderSpec(
            name=name,
            role=role,
            domain=domain,
            n_layers=n_layers,
            dims=(32,) * (n_layers + 1),
            frame_rates_hz=(20.0,) * (n_layers + 1),
            sample_rate_hz=RATE_HZ,
            n_params=32 * 200,
            licence="CC0",
            citation="made for tests",
        )
        self.weights_sha256 = hashlib.sha256(f"{name}{seed}".encode()).hexdigest()
        generator = torch.Generator().manual_seed(seed)
        self._bands = bands
        self._maps = [
            torch.randn(200 if i == 0 else 32, 32, generator=generator) / (14 if i == 0 else 5.6)
            for i in range(n_layers + 1)
        ]

    def to(self, device: str | torch.device) -> Encoder:
        return self

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        frames = samples.unfold(1, 800, 800) if samples.shape[1] >= 800 else samples[:, None]
        spectrum = torch.fft.rfft(frames, n=800).abs()[..., :400].log1p()
        seen = torch.zeros_like(spectrum)
        seen[..., self._bands] = spectrum[..., self._bands]
        state = seen.unfold(-1, 2, 2).mean(-1) @ self._maps[0]
        stack = [state]
        for matrix in self._maps[1:]:
            stack.append(torch.tanh(stack[-1] @ matrix) + 0.5 * stack[-1])
        counts = torch.full((len(samples),), state.shape[1])
        return LayerFeatures(
            layers=layers,
            frames=tuple(stack[i] for i in layers),
            n_valid=tuple(counts for _ in layers),
            frame_rates_hz=tuple(20.0 for _ in layers),
        )


ENCODERS: tuple[Encoder, ...] = (
    BandEncoder(STUDENT, "student", None, slice(0, 400), 1),
    BandEncoder("speech-teacher", "teacher", "speech", slice(0, 90), 2),
    BandEncoder("sound-teacher", "teacher", "sound", slice(60, 400), 3),
    BandEncoder("music-teacher", "teacher", "music", slice(10, 200), 4),
    BandEncoder("speech-control", "control", "speech", slice(0, 60), 5),
    BandEncoder("music-control", "control", "music", slice(100, 300), 6),
)


def tone(domain: str, cluster: int, take: int, duration_s: float) -> Samples:
    """Audio of one kind: the cluster sets pitch and colour, the take sets what happens."""
    rng = np.random.default_rng([DOMAINS.index(domain), cluster, take])
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    noise = rng.standard_normal(len(time_s))
    if domain == "speech":
        pitch = 90 + 18 * cluster + 12 * np.sin(2 * np.pi * (0.7 + 0.2 * take) * time_s)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE_HZ
        voiced = sum(np.sin(n * phase) / n ** (1 + 0.1 * take) for n in range(1, 12))
        audio = voiced * (0.6 + 0.4 * np.sin(2 * np.pi * (3 + take) * time_s)) + 0.05 * noise
    elif domain == "sound":
        width = 4 + 5 * cluster
        burst = np.exp(-((time_s * (1 + take)) % 1.0) * (2 + cluster))
        audio = np.convolve(noise, np.hanning(width) / width, "same") * burst
    elif domain == "music":
        root = 110 * 2 ** (cluster / 12)
        notes = [root, root * (1.25 if take % 2 else 1.2), root * 1.5]
        audio = sum(
            np.sin(2 * np.pi * f * n * time_s) / n**2 for f in notes for n in range(1, 6)
        ) * np.exp(-((time_s * 2) % 1.0))
    else:
        sweep = 200 + 900 * cluster * (time_s / duration_s) ** (1 + take)
        audio = np.sin(2 * np.pi * np.cumsum(sweep) / RATE_HZ)
    return (0.5 * audio / np.abs(audio).max()).astype(np.float32)


def build(
    folder: Path,
    *,
    clips_per_domain: int = 27,
    n_permutations: int = 99,
    with_umap: bool = True,
) -> Workspace:
    """Makes the workspace in ``folder``/ws, its audio beside it.

    Without UMAP, which compiles for ten seconds, it has PCA maps only.
    """
    audio = folder / "audio"
    audio.mkdir(parents=True)
    sources = [_clip(audio, d, i) for d in DOMAINS for i in range(clips_per_domain)]
    sources.append(_long(audio))
    (audio / "notes.wav").write_text("this is no audio")
    sources.append(SourceClip(path=audio / "notes.wav"))
    workspace = Workspace.create(folder / "ws")
    import_clips(workspace, sources)
    for encoder in (*ENCODERS, load_encoder("log-mel-statistics")):
        embed(workspace, encoder)
        update_index(workspace, encoder.spec.name, encoder.spec.n_layers)
    evaluate_index(workspace, STUDENT, 4)
    if with_umap:
        project_space(workspace, STUDENT, 4, method="umap")
    for encoder in ENCODERS[:4]:
        project_space(workspace, encoder.spec.name, encoder.spec.n_layers, method="pca")
    _relations(workspace)
    _similarity(workspace, n_permutations)
    _probes(workspace)
    return workspace


def _clip(audio: Path, domain: str, i: int) -> SourceClip:
    cluster, take = divmod(i, 3)
    clip_id, label = f"{domain}-{i:03d}", f"{domain} kind {take}"
    if domain == "sound" and i == 0:
        clip_id, label = SCRIPT_ID, SCRIPT_LABEL
    path = audio / f"{domain}-{i:03d}.wav"
    sf.write(path, tone(domain, cluster, take, 1.5 + 0.1 * (i % 20)), RATE_HZ)
    fields = {
        "clip_id": clip_id,
        "domain": domain,
        "dataset": f"made-{domain}",
        "label": label,
        "cluster_id": f"{domain}-c{cluster}",
        "split": "test" if take else "train",
        "pitch": str(40 + i),
        "source": f"source {i % 25:02d}",
    }
    return SourceClip(path=path, fields=fields)


def _long(audio: Path) -> SourceClip:
    path = audio / "long.wav"
    parts = [tone("music", i, 0, 7.5) for i in range(3)]
    sf.write(path, np.concatenate(parts), RATE_HZ)
    fields = {
        "clip_id": "music-long",
        "domain": "music",
        "dataset": "made-music",
        "label": "music long",
        "cluster_id": "music-long",
    }
    return SourceClip(path=path, fields=fields)


def _relations(workspace: Workspace) -> None:
    with workspace.database.write() as connection:
        for domain in DOMAINS[:3]:
            connection.execute(
                "INSERT INTO distillation VALUES (?, ?, ?, 1)",
                [STUDENT, f"{domain}-teacher", domain],
            )
            connection.execute(
                "INSERT INTO tasks VALUES (?, 'label', ?, 'cluster_id', 'accuracy')",
                [f"{domain}-kind", domain],
            )


def _layers(workspace: Workspace, encoder: str) -> list[npt.NDArray[np.float32]]:
    """Per layer the vectors of all short clips, in the order of their segments."""
    layers: Sequence[int] = workspace.spaces().query("encoder == @encoder").layer.tolist()
    where = "clip_id <> 'music-long'"
    return [workspace.embeddings(encoder, layer, where=where).vectors for layer in layers]


def _similarity(workspace: Workspace, n_permutations: int) -> None:
    rows: list[dict[str, object]] = []
    matrices: dict[tuple[str, str, str, str], LayerMatrix] = {}
    clips = workspace.sql(
        "SELECT domain, cluster_id FROM segments JOIN clips USING (clip_id) "
        "WHERE clip_id <> 'music-long' ORDER BY segment_id"
    )
    others = [e.spec for e in ENCODERS[1:]] + [load_encoder("log-mel-statistics").spec]
    vectors = {name: _layers(workspace, name) for name in [STUDENT, *(s.name for s in others)]}
    for domain in DOMAINS:
        mine = (clips.domain == domain).to_numpy()
        for spec in others:
            for measure in MEASURES:
                matrix = layer_similarity(
                    [v[mine] for v in vectors[STUDENT]],
                    [v[mine] for v in vectors[spec.name]],
                    clips.cluster_id[mine].tolist(),
                    measure=measure,
                    k=3,
                    n_permutations=n_permutations,
                )
                matrices[(STUDENT, spec.name, domain, measure)] = matrix
                rows += _matrix_rows(spec.name, domain, matrix)
    _insert(workspace, "teacher_similarity", rows)
    roles = {s.name: EncoderRole(role=s.role, domain=s.domain) for s in others}
    found = nearest_teachers(rows, roles, matrices)
    _insert(workspace, "nearest_teachers", [_nearest_row(n) for n in found if n.teacher])


def _matrix_rows(teacher: str, domain: str, matrix: LayerMatrix) -> list[dict[str, object]]:
    return [
        {
            "student": STUDENT,
            "student_layer": i,
            "teacher": teacher,
            "teacher_layer": j,
            "domain": domain,
            "measure": matrix.measure,
            "value": float(matrix.values[i, j]),
            "ci_low": float(matrix.ci_low[i, j]),
            "ci_high": float(matrix.ci_high[i, j]),
            "null_kind": matrix.null_kind,
            "null_q95": float(matrix.null_q95[i, j]),
            "p_value": float(matrix.p_value[i, j]),
            "q_value": float(matrix.p_value[i, j]),
            "n_clips": matrix.n_clips,
            "n_clusters": matrix.n_clusters,
            "reason": matrix.reason,
        }
        for i, j in np.ndindex(matrix.values.shape)
    ]


def _nearest_row(found) -> dict[str, object]:  # type: ignore[no-untyped-def]
    teacher, control, gap = found.teacher, found.control, found.difference
    return {
        "student": found.student,
        "domain": found.domain,
        "measure": found.measure,
        "teacher": teacher.encoder,
        "student_layer": teacher.student_layer,
        "teacher_layer": teacher.teacher_layer,
        "value": teacher.value,
        "ci_low": teacher.ci_low,
        "ci_high": teacher.ci_high,
        "control": control.encoder if control else None,
        "control_value": control.value if control else None,
        "difference": gap.value if gap else None,
        "difference_ci_low": gap.ci_low if gap else None,
        "difference_ci_high": gap.ci_high if gap else None,
        "n_clips": teacher.n_clips,
        "n_clusters": teacher.n_clusters,
        "statement": describe_nearest(found),
    }


def _probes(workspace: Workspace) -> None:
    rng = np.random.default_rng(0)
    rows: list[dict[str, object]] = []
    for protocol in ("knn", "linear"):
        for spec in [e.spec for e in ENCODERS]:
            for domain in DOMAINS[:3]:
                value = float(0.6 + 0.1 * rng.standard_normal())
                rows.append(
                    {
                        "encoder": spec.name,
                        "layer": spec.n_layers,
                        "task": f"{domain}-kind",
                        "protocol": protocol,
                        "metric": "accuracy",
                        "value": value,
                        "ci_low": value - 0.08,
                        "ci_high": value + 0.07,
                        "n_test": 27,
                        "n_classes": 3,
                        "n_groups": 9,
                        "chance": 1 / 3,
                    }
                )
    _insert(workspace, "probes", rows)


def _insert(workspace: Workspace, table: str, rows: list[dict[str, object]]) -> None:
    names = list(rows[0])
    marks = ", ".join("?" for _ in names)
    with workspace.database.write() as connection:
        connection.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
            [[None if row[n] != row[n] else row[n] for n in names] for row in rows],
        )
