"""Plain headings for the columns of the workspace's tables, the same in app and report."""

NUMBERS = {
    "start_s": ("start (s)", "%.2f"),
    "end_s": ("end (s)", "%.2f"),
    "duration_s": ("length (s)", "%.2f"),
    "minutes": ("minutes", "%.1f"),
    "value": ("value", "%.3f"),
    "score": ("score", "%.3f"),
    "ci_low": ("95% from", "%.3f"),
    "ci_high": ("95% to", "%.3f"),
    "null_q95": ("null (95%)", "%.3f"),
    "p_value": ("p", "%.3f"),
    "q_value": ("q", "%.3f"),
    "pair_p_value": ("p of teacher and domain", "%.3f"),
    "p_peers": ("p beside peers", "%.3f"),
    "p_placebos": ("p beside placebos", "%.3f"),
    "over_peers": ("over peers", "%.3f"),
    "excess_after_erasure": ("excess without the column", "%.3f"),
    "excess_by_chance": ("excess without the values of other clusters", "%.3f"),
    "chance": ("chance", "%.3f"),
    "difference": ("difference", "%.3f"),
    "difference_ci_low": ("difference from", "%.3f"),
    "difference_ci_high": ("difference to", "%.3f"),
    "control_value": ("control's value", "%.3f"),
    "trustworthiness": ("trustworthiness", "%.3f"),
    "recall_at_10": ("recall at 10", "%.3f"),
    "ms_per_query": ("ms per query", "%.3f"),
    "megabytes": ("MB", "%.2f"),
    "seconds": ("seconds", "%.1f"),
    "mean": ("mean", "%.3f"),
}
"""Headings and digits of numbers."""
WORDS = {
    "clip_id": "clip",
    "cluster_id": "cluster",
    "sample_rate_hz": "rate (Hz)",
    "student_layer": "student layer",
    "teacher_layer": "other's layer",
    "n_clips": "clips",
    "n_clusters": "clusters",
    "n_test": "test clips",
    "n_classes": "classes",
    "n_groups": "groups",
    "n_pairs": "layer pairs",
    "n_judged": "judged on",
    "n_vectors": "vectors stored",
    "n_params": "parameters",
    "code_version": "code version",
    "weights_sha256": "weights (hash)",
    "null_kind": "kind of null",
    "p_kind": "kind of test",
    "window_s": "window (s)",
    "hop_s": "hop (s)",
    "label_column": "label column",
    "group_column": "folds by",
    "layer_selection": "layer chosen",
    "n_params_resident": "parameters in memory",
    "flops_per_s": "operations per s",
    "rtf": "real-time factor",
    "fit_r2": "fit R²",
}


def heading(column: str) -> str:
    """The heading of a column.

    >>> heading("ci_low"), heading("n_test"), heading("copy_probability")
    ('95% from', 'test clips', 'copy probability')
    """
    if column in NUMBERS:
        return NUMBERS[column][0]
    return WORDS.get(column, column.replace("_", " "))
