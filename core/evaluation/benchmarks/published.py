"""Numbers from papers, in the units of our rows (shares, not per cent).

Only what stands in a table that could be read: where there is no list, there is no number.
Per-task values of USAD 2.0 on HEAR and MARBLE were not found, only averages over tasks.
"""

from usad_workbench.core.evaluation.benchmarks.task import Published

_TABLE_3 = "USAD (arXiv 2506.18843) table III, fine-tuned"
_TABLE_4 = "USAD (arXiv 2506.18843) table IV, HEAR"

_FINE_TUNED: dict[str, tuple[float, float]] = {  # AS-20K mAP, ESC-50 accuracy, in per cent
    "DPWavLM": (23.5, 78.8),
    "WavLM Base+": (24.0, 77.0),
    "data2vec2 Speech": (26.0, 73.7),
    "SSAST Patch": (31.0, 88.8),
    "SSAST Frame": (29.2, 85.9),
    "BEATs iter3": (38.3, 95.6),
    "EAT": (40.2, 95.9),
    "SSLAM": (40.9, 95.9),
    "ATST Frame": (39.0, 91.1),
    "data2vec2 Audio": (35.1, 91.0),
    "data2vec2 Mix": (33.1, 87.8),
    "USAD Small": (34.5, 89.3),
    "USAD Base": (35.7, 91.1),
    "USAD Large": (37.4, 92.7),
}  # USAD (arXiv 2506.18843), table III

_HEAR_TASKS = (
    "beehive_states",
    "beijing_opera",
    "crema_d",
    "dcase2016_task2",
    "esc50",
    "fsd50k",
    "gunshot_triangulation",
    "gtzan",
    "gtzan_music_speech",
    "libricount",
    "maestro",
    "mridangam_stroke",
    "mridangam_tonic",
    "speech_commands-5h",
    "speech_commands-full",
    "nsynth_pitch-5h",
    "nsynth_pitch-50h",
    "vocal_imitation",
    "vox_lingua_top10",
)
_HEAR: dict[str, tuple[float, ...]] = {
    "WavLM": (
        61.2,
        90.2,
        76.6,
        88.7,
        73.3,
        43.7,
        93.2,
        83.4,
        96.1,
        77.2,
        12.8,
        96.7,
        89.6,
        95.9,
        96.9,
        34.8,
        67.4,
        14.9,
        73.8,
    ),
    "ATST Frame": (
        64.6,
        95.8,
        76.7,
        95.7,
        89.0,
        55.7,
        94.3,
        88.3,
        100.0,
        78.1,
        24.4,
        97.5,
        96.9,
        92.6,
        95.1,
        68.6,
        82.0,
        22.3,
        66.9,
    ),
    "WavLM+ATST": (
        63.4,
        94.9,
        79.2,
        95.0,
        87.8,
        56.0,
        94.0,
        87.7,
        100.0,
        79.4,
        29.8,
        97.5,
        96.5,
        96.1,
        97.1,
        64.2,
        81.9,
        21.8,
        69.4,
    ),
    "USAD Small": (
        78.6,
        94.5,
        78.2,
        89.5,
        81.8,
        51.1,
        93.2,
        86.6,
        98.5,
        77.0,
        25.3,
        97.3,
        94.3,
        96.2,
        97.2,
        55.6,
        77.7,
        20.0,
        73.6,
    ),
    "USAD Base": (
        84.7,
        95.8,
        80.0,
        93.6,
        82.2,
        52.2,
        94.0,
        86.3,
        100.0,
        78.7,
        26.7,
        97.3,
        95.7,
        96.6,
        97.6,
        57.0,
        81.6,
        19.5,
        76.0,
    ),
    "USAD Large": (
        86.5,
        94.1,
        79.5,
        93.9,
        83.4,
        53.0,
        97.6,
        87.4,
        100.0,
        79.1,
        38.4,
        97.4,
        96.1,
        97.0,
        97.5,
        57.0,
        83.2,
        18.5,
        75.3,
    ),
}
"""USAD (arXiv 2506.18843), table IV, in the order of ``_HEAR_TASKS``."""


def _from_table_3(column: int) -> tuple[Published, ...]:
    return tuple(
        Published(model=model, value=round(values[column] / 100, 6), source=_TABLE_3)
        for model, values in _FINE_TUNED.items()
    )


AS20K_FINE_TUNED = _from_table_3(0)
ESC50_FINE_TUNED = _from_table_3(1)
HEAR_FROZEN: dict[str, tuple[Published, ...]] = {
    task: tuple(
        Published(model=model, value=round(values[place] / 100, 6), source=_TABLE_4)
        for model, values in _HEAR.items()
    )
    for place, task in enumerate(_HEAR_TASKS)
}
"""Results by HEAR task, without ``tfds_`` and with its mode where it has several sizes."""
