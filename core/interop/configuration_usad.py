"""The student's configuration as transformers reads and writes it.

This file and ``modeling_usad`` travel with an exported folder: they may import nothing
but torch, transformers and what ``bundle`` can take along.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from transformers import PreTrainedConfig

from usad_workbench.core.models.sizes import StudentConfig


class UsadConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The fields of ``StudentConfig``, under the same names.

    ``model_type`` is not ``usad``: that one names the published checkpoints, whose keys
    and weights are others.
    """

    model_type = "usad_student"
    attribute_map = {  # noqa: RUF012 - the base class declares it
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
    }

    def __init__(self, **kwargs: Any) -> None:
        for field in fields(StudentConfig):
            setattr(self, field.name, kwargs.pop(field.name, field.default))
        super().__init__(**kwargs)

    def student_config(self) -> StudentConfig:
        """The architecture as our own code takes it.

        Raises:
            ConfigError: values that do not fit together.
        """
        return StudentConfig(
            **{field.name: getattr(self, field.name) for field in fields(StudentConfig)}
        )
