"""The forward pass of the student against this machine's own matrix product."""

from functools import partial

import torch

from usad_workbench.core.models.sizes import SIZES
from usad_workbench.core.models.student import build_student
from usad_workbench.workbench.speed.flops import forward_flops
from usad_workbench.workbench.speed.measure import (
    Row,
    make_row,
    matmul_job,
    median_seconds,
)

CLIP_S = 10


def bench_student_forward() -> list[Row]:
    """Operations per second of the forward pass, over those of a large matrix product."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    rows = []
    for size, n_clips in (("small", 4), ("base", 1)):
        config = SIZES[size]
        student = build_student(config).eval().to(device, dtype)
        samples = torch.randn(n_clips, CLIP_S * 16_000, device=device) * 0.1
        product, product_flops = matmul_job(device, dtype)
        with torch.inference_mode():
            times = median_seconds({"student": partial(student, samples), "mm": product})
        achieved = forward_flops(config, n_clips, samples.shape[1]) / times["student"]
        rows.append(
            make_row(
                f"student-forward {size}, {n_clips} x {CLIP_S} s, {str(dtype)[6:]}",
                achieved / 1e9,
                "GFLOP/s",
                "matrix product of the same type on this machine",
                product_flops / times["mm"] / 1e9,
            )
        )
    return rows
