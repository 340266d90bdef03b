"""The student as a folder of transformers: weights, configuration, code, card.

The folder loads in three ways: ``UsadModel.from_pretrained(FOLDER)``; ``AutoModel``
after ``register_with_transformers()``; and ``AutoModel`` with ``trust_remote_code=True``
where this package is not installed, through the code that lies in the folder.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

from usad_workbench.core.files import new_folder
from usad_workbench.core.interop.bundle import bundle_sources
from usad_workbench.core.interop.card import model_card
from usad_workbench.core.interop.configuration_usad import UsadConfig
from usad_workbench.core.interop.modeling_usad import UsadModel
from usad_workbench.core.interop.source import LoadedStudent

AUTO_MAP = {
    "AutoConfig": "configuration_usad.UsadConfig",
    "AutoModel": "modeling_usad.UsadModel",
}


def register_with_transformers() -> None:
    """Makes ``AutoConfig`` and ``AutoModel`` know the student; may be called again."""
    AutoConfig.register(UsadConfig.model_type, UsadConfig, exist_ok=True)
    AutoModel.register(UsadConfig, UsadModel, exist_ok=True)


def to_transformers(source: LoadedStudent) -> UsadModel:
    """The student as a model of transformers, with weights of its own."""
    config = UsadConfig(**asdict(source.student.config), provenance=source.provenance)
    config.auto_map = AUTO_MAP
    model = UsadModel(config)
    model.student.load_state_dict(source.student.state_dict())
    model.train(False)
    return model


def export_huggingface(source: LoadedStudent, folder: str | Path) -> list[Path]:
    """Writes the folder; it appears only when complete.

    Args:
        source: The student.
        folder: A new or empty folder.

    Returns:
        The files: ``model.safetensors``, ``config.json``, ``preprocessor_config.json``,
        ``README.md`` and the code.

    Raises:
        ConfigError: something is there already.
    """
    with new_folder(folder) as partial:
        to_transformers(source).save_pretrained(partial)
        feature_extractor().save_pretrained(partial)
        for name, text in bundle_sources(UsadModel.__module__).items():
            (partial / name).write_text(text, encoding="utf-8")
        (partial / "README.md").write_text(model_card(source, USAGE), encoding="utf-8")
    return sorted(Path(folder).iterdir())


def feature_extractor() -> Wav2Vec2FeatureExtractor:
    """Pads clips behind their end and masks the padding; changes no sample."""
    return Wav2Vec2FeatureExtractor(  # type: ignore[no-untyped-call]
        feature_size=1,
        sampling_rate=16_000,
        padding_value=0.0,
        do_normalize=False,
        return_attention_mask=True,
    )


USAGE = """```python
from transformers import AutoFeatureExtractor, AutoModel

extractor = AutoFeatureExtractor.from_pretrained(FOLDER)
model = AutoModel.from_pretrained(FOLDER, trust_remote_code=True)
inputs = extractor([clip_a, clip_b], sampling_rate=16000, padding=True, return_tensors="pt")
output = model(**inputs)  # output.x, output.hidden_states, output.ffn, output.mel, output.n_valid
```

`trust_remote_code=True` runs the Python files of this folder: read them first. With the package `usad-workbench` installed, `register_with_transformers()` of `usad_workbench.core.interop.huggingface` takes its place."""
