"""Words and sounds in one space: the two towers of a small CLAP against transformers' own."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from tests.core.encoders.hub_folders import SAMPLES, save, save_clap_with_words
from usad_workbench.core import load_encoder
from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.networks.windows import plan_windows
from usad_workbench.core.encoders.words import load_text_encoder, reads_words
from usad_workbench.core.errors import ConfigError, UsadError, WeightsError

RATE_HZ = 16_000
TEXTS = ("dog barking", "rain on a roof, far away", "Ünïcode 狗")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("clap") / "with words"
    save_clap_with_words(found)
    return found


@pytest.fixture(scope="module")
def original(folder: Path) -> Any:
    return tf.ClapModel.from_pretrained(folder).eval()


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    samples: np.ndarray = (0.1 * rng.standard_normal(round(duration_s * RATE_HZ))).astype("f4")
    return samples


def unit(vectors: torch.Tensor) -> np.ndarray:
    found: np.ndarray = torch.nn.functional.normalize(vectors, dim=-1).numpy()
    return found


@torch.no_grad()
def of_audio(original: Any, folder: Path, samples: np.ndarray) -> np.ndarray:
    extractor: Any = tf.ClapFeatureExtractor.from_pretrained(folder)
    made = extractor(samples, sampling_rate=RATE_HZ, return_tensors="pt")["input_features"]
    is_longer = torch.zeros(1, 1, dtype=torch.bool)
    tower = original.audio_model(input_features=made, is_longer=is_longer)
    return unit(original.audio_projection(tower.pooler_output))[0]


@torch.no_grad()
def of_text(original: Any, folder: Path, text: str) -> np.ndarray:
    inputs = tf.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    tower = original.text_model(**inputs)
    return unit(original.text_projection(tower.pooler_output))[0]


def test_both_towers_are_those_of_the_model(folder: Path, original: Any) -> None:
    encoder, reader = load_encoder(f"hf:{folder}"), load_text_encoder(f"hf:{folder}")
    assert encoder.spec.native_dim == 16
    assert reader.weights_sha256 == encoder.weights_sha256
    for duration_s in (0.4, 1.7):
        clip = Clip(samples=noise(duration_s), sample_rate_hz=RATE_HZ)
        (found,) = encoder.embed(clip, None, "native")
        np.testing.assert_allclose(found, of_audio(original, folder, clip.samples), atol=2e-6)
    together = reader.embed(TEXTS)  # padded to the longest
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(vector, of_text(original, folder, text), atol=2e-6)


def test_a_long_clip_is_the_mean_of_its_windows(folder: Path, original: Any) -> None:
    encoder = load_encoder(f"hf:{folder}")
    samples = noise(3.0)
    (found,) = encoder.embed(Clip(samples=samples, sample_rate_hz=RATE_HZ), None, "native")
    window = 2 * RATE_HZ
    plan = plan_windows(len(samples), window, window // 6, 4000)
    assert len(plan) == 2
    windows = [of_audio(original, folder, samples[w.start : w.stop]) for w in plan]
    assert np.abs(windows[0] - windows[1]).max() > 1e-5
    np.testing.assert_allclose(found, np.mean(windows, axis=0), atol=2e-6)


def test_a_long_text_is_cut_and_an_empty_one_refused(folder: Path) -> None:
    reader = load_text_encoder(f"hf:{folder}")
    assert np.isfinite(reader.embed(["dog " * 500])).all()
    for texts in ([], [" "], ["dog", ""]):
        with pytest.raises(ConfigError, match="without words"):
            reader.embed(texts)


def test_what_reads_no_words_is_said(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "hubert"
    save(SAMPLES["hubert-layer"], other)
    silent = tmp_path / "no tokenizer"
    shutil.copytree(folder, silent, ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    half = tmp_path / "audio alone"
    save(SAMPLES["clap"], half)
    shutil.copy(folder / "tokenizer.json", half)
    tf.ClapAudioModelWithProjection.from_pretrained(half).save_pretrained(half)
    cases: list[tuple[str, type[UsadError], str]] = [
        ("usad-demo", ConfigError, "reads no words"),
        (f"hf:{other}", ConfigError, "reads no words"),
        (f"hf:{silent}", ConfigError, "no tokenizer"),
        (f"hf:{half}", ConfigError, "reads no words"),
        (f"hf:{tmp_path / 'nowhere'}", WeightsError, "nowhere"),
    ]
    for name, error, words in cases:
        assert not reads_words(name, "native")
        with pytest.raises(error, match=words):
            load_text_encoder(name)
    assert reads_words(f"hf:{folder}", "native") and not reads_words(f"hf:{folder}", "mean")
