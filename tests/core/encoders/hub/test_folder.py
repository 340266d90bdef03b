"""Model folders: which are taken, which are refused and in what words; code of their own."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import save_file

from tests.core.encoders.hub_folders import SAMPLES, WAVE, save
from tests.core.encoders.remote_folder import (
    HIDDEN_TABLE,
    NO_POST_INIT,
    PLAIN_TABLE,
    keep_code_apart,
    reference,
    write_remote_student,
)
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.hub import snapshots
from usad_workbench.core.encoders.registry import encoder_status, get_weights, load_encoder
from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.errors import ConfigError, ShapeError, UntrustedCodeError, WeightsError
from usad_workbench.core.models.frontend import FrontendConfig, LogMel
from usad_workbench.core.models.pooling import pooled_vectors

RATE = 16_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the user's hub cache nor the copies that transformers makes of code."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    keep_code_apart(monkeypatch, tmp_path / "modules")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(SAMPLES["wavlm-large"], tmp_path / "model")
    return tmp_path / "model"


def noise(n: int = RATE, seed: int = 0) -> Clip:
    samples = np.random.default_rng(seed).normal(scale=0.1, size=n).astype(np.float32)
    return Clip(samples=samples, sample_rate_hz=RATE)


def as_snapshot(folder: Path, hub: Path, repo: str) -> None:
    """The folder as the hub's client leaves it in its cache."""
    root = hub / f"models--{repo.replace('/', '--')}"
    commit = "0" * 40
    (root / "snapshots").mkdir(parents=True)
    folder.rename(root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)


def test_a_folder_by_its_path(folder: Path) -> None:
    name = f"hf:{folder}"
    assert encoder_status(name).available and get_weights(name) == folder
    encoder = load_encoder(name)
    assert encoder.spec.name == name and encoder.spec.role == "control"
    assert encoder.spec.dims == (32, 32, 32) and len(encoder.weights_sha256) == 64
    assert encoder.weights_sha256 == load_encoder(name).weights_sha256


def test_other_weights_or_another_front_end_have_another_hash(folder: Path) -> None:
    before = load_encoder(f"hf:{folder}").weights_sha256
    tf.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(
        folder
    )
    assert load_encoder(f"hf:{folder}").weights_sha256 != before


def test_a_repository_in_the_cache_needs_no_network(folder: Path, tmp_path: Path) -> None:
    expected = load_encoder(f"hf:{folder}").embed(noise(), -1)[0]
    as_snapshot(folder, tmp_path / "hub", "me/model")
    assert encoder_status("hf:me/model").available
    found = load_encoder("hf:me/model").embed(noise(), -1)[0]
    np.testing.assert_array_equal(found, expected)
    assert "hf:me/other" in encoder_status("hf:me/other").reason


def test_an_interrupted_download_is_not_there(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    as_snapshot(folder, tmp_path / "hub", "me/model")
    reason = encoder_status("hf:me/model").reason
    assert "usad encoders get hf:me/model" in reason
    with pytest.raises(WeightsError, match="encoders get hf:me/model"):
        load_encoder("hf:me/model")


def test_a_missing_shard_is_a_missing_model(folder: Path) -> None:
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"no model folder.*one\.safetensors"):
        load_encoder(f"hf:{folder}")


@pytest.mark.parametrize(
    "name",
    [
        "hf:",
        "hf:nowhere",
        "hf:a/b/c",
        "hf:/no/such/folder",
        "hf:./typo",
        "hf:../typo",
        "hf:~/typo",
        "hf:foo--bar/x",
        "hf:foo/x.git",
        "hf:foo/x@",
    ],
)
def test_names_that_name_nothing(name: str) -> None:
    for act in (load_encoder, get_weights):
        with pytest.raises(WeightsError, match="OWNER/NAME"):
            act(name)
    assert not encoder_status(name).available


def test_a_folder_of_the_users_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_encoder("hf:~/model").weights_sha256 == load_encoder(f"hf:{folder}").weights_sha256


def test_a_relative_name_from_another_folder_is_told_apart_from_the_hubs() -> None:
    assert encoder_status("hf:models/mine").reason.startswith("There is no folder models/mine here")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(WeightsError, match=r"no model folder.*config\.json.*notes\.txt"):
        load_encoder(f"hf:{tmp_path}")
    with pytest.raises(WeightsError, match="no model folder"):
        get_weights(f"hf:{tmp_path}")


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_a_damaged_configuration(folder: Path, damage: str) -> None:
    (folder / "config.json").write_text(damage)
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_encoder(f"hf:{folder}")


def test_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"damaged|cannot load"):
        load_encoder(f"hf:{folder}")


def test_weights_as_older_torch_wrote_them(tmp_path: Path) -> None:
    net = save(SAMPLES["whisper"], tmp_path)
    expected = load_encoder(f"hf:{tmp_path}").embed(noise(), -1)[0]
    (tmp_path / "model.safetensors").unlink()
    torch.save(
        net.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False
    )
    np.testing.assert_array_equal(load_encoder(f"hf:{tmp_path}").embed(noise(), -1)[0], expected)


def test_a_model_without_its_front_end(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="preprocessor_config"):
        load_encoder(f"hf:{folder}")


def test_a_model_of_text(tmp_path: Path) -> None:
    config = tf.BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=30,
    )
    tf.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match="audio model"):
        load_encoder(f"hf:{tmp_path}")


def test_weights_that_lack_tensors(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for other in ({"num_hidden_layers": 3}, {"intermediate_size": 64}):
        (folder / "config.json").write_text(json.dumps({**config, **other}))
        with pytest.raises(WeightsError, match=r"lack \d+ tensors.*the first is encoder\.layers"):
            load_encoder(f"hf:{folder}")


OWN_CODE = """
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class C(PreTrainedConfig):
    model_type = "TYPE"


class M(PreTrainedModel):
    config_class = C

    def __init__(self, config):
        super().__init__(config)
        self.weight = nn.Parameter(torch.ones(1))
        self.post_init()
"""


def write_own_code(folder: Path, model_type: str, forward: str, imports: str = "") -> str:
    """A folder whose model is the code of this ``forward``."""
    code = imports + OWN_CODE.replace("TYPE", model_type) + indent(dedent(forward), "    ")
    (folder / "own.py").write_text(code)
    config = {"model_type": model_type, "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.ones(1)}, folder / "model.safetensors", {"format": "pt"})
    return f"hf:{folder}"


def test_a_model_without_hidden_states(tmp_path: Path) -> None:
    forward = """
        def forward(self, input_values, **more):
            return {"logits": input_values}
    """
    name = write_own_code(tmp_path, "odd", forward)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"no hidden states.*logits"):
        load_encoder(name, trust_remote_code=True)


def write_odd(folder: Path, hops: tuple[int, ...]) -> str:
    """A model of an unknown type whose layers have frames of so many samples."""
    tf.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    forward = f"""
        def forward(self, input_values, output_hidden_states=None):
            hidden = [
                self.weight * input_values.unfold(1, 1000, hop).mean(2, keepdim=True)
                for hop in {hops}
            ]
            return BaseModelOutput(hidden[0], hidden)
    """
    return write_own_code(folder, "odd", forward)


@pytest.mark.parametrize("hops", [(735, 735), (320, 640, 1280), (441,)])
def test_frames_of_an_unlisted_type_are_counted_exactly(
    tmp_path: Path, hops: tuple[int, ...]
) -> None:
    """For a hop that two counts of frames cannot tell too, and over several windows."""
    encoder = load_encoder(write_odd(tmp_path, hops), trust_remote_code=True)
    assert encoder.spec.frame_rates_hz == tuple(RATE / hop for hop in hops)
    clip = noise(75 * RATE)
    for frames, hop in zip(encoder.encode(clip).frames, hops, strict=True):
        expected = torch.from_numpy(clip.samples).unfold(0, 1000, hop).mean(1)
        torch.testing.assert_close(frames[0, :, 0], expected, rtol=0, atol=1e-6)


def test_layers_that_never_meet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not be cut into windows"):
        load_encoder(write_odd(tmp_path, (735, 736)), trust_remote_code=True)


def test_an_unlisted_types_output_is_its_last_hidden_state(tmp_path: Path) -> None:
    """Not what it returns as such: that may have another rate, as SEW-D's has."""
    encoder = load_encoder(write_odd(tmp_path, (320, 640)), trust_remote_code=True)
    batch = ClipBatch.from_clips([noise()])
    (found,) = encoder.features(batch, [-1], "output").frames
    assert torch.equal(found, encoder.features(batch, [-1]).frames[0])


def test_a_front_end_of_another_model_is_refused(tmp_path: Path) -> None:
    for name, other, words in (
        ("whisper", tf.WhisperFeatureExtractor(feature_size=80), "80 mel bands.*takes 16"),
        ("whisper", tf.WhisperFeatureExtractor(feature_size=16), "3000 mel frames.*takes 200"),
        ("ast", tf.ASTFeatureExtractor(num_mel_bins=32), "1024 mel frames.*takes 128"),
        ("clap", tf.ClapFeatureExtractor(), "64 mel bands.*takes 16"),
    ):
        save(SAMPLES[name], tmp_path / name)
        other.save_pretrained(tmp_path / name)
        with pytest.raises(ConfigError, match=words):
            load_encoder(f"hf:{tmp_path / name}")


def test_windows_of_a_long_clip_are_halved_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device with memory for two windows of one clip that has nine."""
    encoder = load_encoder(f"hf:{folder}")
    encoder.cpu_batch_s = 240.0
    monkeypatch.setattr(encoder, "window_samples", lambda: RATE)
    clip = noise(round(7.3 * RATE))
    (expected,) = pooled_vectors(encoder, [clip], (2,), "mean").values()
    sizes: list[int] = []
    run = encoder._run

    def two_at_most(clips: list[Any], *rest: Any) -> Any:
        sizes.append(len(clips))
        if len(clips) > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return run(clips, *rest)

    monkeypatch.setattr(encoder, "_run", two_at_most)
    (found,) = pooled_vectors(encoder, [clip], (2,), "mean").values()
    assert max(sizes) > 2 and sum(size for size in sizes if size <= 2) == max(sizes)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_an_adapters_output_is_refused(tmp_path: Path) -> None:
    config = tf.Wav2Vec2Config(**WAVE, add_adapter=True)
    tf.Wav2Vec2Model(config).save_pretrained(tmp_path)
    tf.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    batch = ClipBatch.from_clips([noise()])
    assert encoder.features(batch, [-1]).frames[0].shape == (1, 49, 32)
    with pytest.raises(ConfigError, match="comes from its adapter"):
        encoder.features(batch, [-1], "output")


def test_batch_norm_in_the_positions_means_equal_lengths(tmp_path: Path) -> None:
    layer_norm = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    config = tf.HubertConfig(**WAVE, **layer_norm, conv_pos_batch_norm=True)
    tf.HubertModel(config).save_pretrained(tmp_path)
    tf.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    assert not load_encoder(f"hf:{tmp_path}").spec.pads


def test_an_unlisted_type_is_read_through_its_hidden_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usad_workbench.core.encoders.hub import families as transformers_families

    monkeypatch.delitem(transformers_families.FAMILIES, "wav2vec2")
    original: Any = save(SAMPLES["wav2vec2"], tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.spec.dims == (WAVE["hidden_size"],) * 3 and not encoder.spec.has_ffn
    assert encoder.spec.frame_rates_hz == (50.0,) * 3 and not encoder.spec.pads
    clip = noise(21_000)
    with torch.no_grad():
        values = torch.from_numpy(clip.samples)[None]
        expected = original(values, output_hidden_states=True).hidden_states
    for ours, theirs in zip(encoder.encode(clip).frames, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_of_a_model_with_a_decoder_the_encoder_is_read(tmp_path: Path) -> None:
    """Moonshine, of no type that is listed; its frames are 384 samples apart (its paper: 41.6 Hz)."""
    config = tf.MoonshineConfig(
        hidden_size=32,
        intermediate_size=48,
        encoder_num_hidden_layers=2,
        vocab_size=20,
        decoder_num_hidden_layers=1,
        encoder_num_attention_heads=4,
        decoder_num_attention_heads=4,
    )
    torch.manual_seed(0)
    net: Any = tf.MoonshineForConditionalGeneration(config).eval()
    net.save_pretrained(tmp_path)
    tf.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    encoder = load_encoder(f"hf:{tmp_path}")
    assert encoder.spec.frame_rates_hz == (RATE / 384,) * 3
    clip = noise(21_000)
    with torch.no_grad():
        values = torch.from_numpy(clip.samples)[None]
        expected = net.model.encoder(values, output_hidden_states=True).hidden_states
    for ours, theirs in zip(encoder.encode(clip).frames, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_code_of_a_folder_runs_only_where_it_is_trusted(tmp_path: Path) -> None:
    write_remote_student(tmp_path / "student")
    witness = tmp_path / "it ran"
    code = tmp_path / "student" / "configuration_usad.py"
    code.write_text(f"open({str(witness)!r}, 'w').close()\n" + code.read_text())
    with pytest.raises(UntrustedCodeError, match=r"modeling_usad\.py.*--trust-remote-code"):
        load_encoder(f"hf:{tmp_path / 'student'}")
    assert not witness.exists()
    load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)
    assert witness.exists()


@pytest.mark.parametrize(
    "line", ["len(None)", "raise NameError('torch_geometric')", "assert False, 'too old'"]
)
def test_code_that_this_transformers_does_not_run(tmp_path: Path, line: str) -> None:
    """As code written for another version: no traceback, and the folder is named."""
    write_remote_student(tmp_path / "student")
    code = tmp_path / "student" / "modeling_usad.py"
    before, definition, after = code.read_text().partition("    def forward(")
    code.write_text(
        f"{before}    def forward(self, *args, **kwargs):\n        {line}\n\n"
        f"{definition.replace('forward', 'unused')}{after}"
    )
    with pytest.raises(WeightsError, match=r"cannot load .*student"):
        load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)


def write_kaldi(folder: Path, window: str) -> str:
    """A student whose code takes its bands from torchaudio, as the published ones."""
    forward = f"""
        def forward(self, wavs):
            wavs = wavs - wavs.mean(1, keepdim=True)
            mel = torch.stack([
                torchaudio.compliance.kaldi.fbank(
                    wav[None].float(), htk_compat=True, sample_frequency=16000, use_energy=False,
                    window_type={window!r}, num_mel_bins=128, dither=0.0, frame_shift=10,
                ).to(wav)
                for wav in wavs
            ])
            x = self.weight * mel[:, : mel.shape[1] // 2 * 2].unflatten(1, (-1, 2)).flatten(2)
            return {{"x": x, "mel": mel, "hidden_states": [x], "ffn": [x]}}
    """
    return write_own_code(folder, "usad", forward, imports="import torchaudio\n")


@pytest.mark.skipif(find_spec("torchaudio") is not None, reason="torchaudio is installed")
def test_code_that_imports_torchaudio_runs_without(tmp_path: Path) -> None:
    """Its bands are our front end's, which other tests hold to Kaldi's."""
    encoder = load_encoder(write_kaldi(tmp_path, "hanning"), trust_remote_code=True)
    assert "torchaudio" not in sys.modules and find_spec("torchaudio") is None
    assert not tf.utils.is_torchaudio_available()
    clip = noise(2 * RATE)
    (mel,) = encoder.encode(clip, 0).frames
    expected = LogMel(FrontendConfig(mean=0.0, std=0.5))(torch.from_numpy(clip.samples)[None])[0]
    torch.testing.assert_close(mel, expected, rtol=0, atol=1e-3)


@pytest.mark.skipif(find_spec("torchaudio") is not None, reason="torchaudio is installed")
def test_bands_that_are_not_ours_are_not_lent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"window_type = 'povey'.*Install the torchaudio"):
        load_encoder(write_kaldi(tmp_path, "povey"), trust_remote_code=True)


def test_a_published_student_is_what_its_formulas_say(tmp_path: Path) -> None:
    weights = write_remote_student(tmp_path / "student")
    encoder = load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)
    spec = encoder.spec
    assert spec.dims == (128, 16, 16, 16) and spec.frame_rates_hz == (100.0, 50.0, 50.0, 50.0)
    assert spec.layer_names[0] == "log-mel" and spec.role == "student"
    clip = noise(20_123)
    expected = reference(weights, torch.from_numpy(clip.samples))
    batch = ClipBatch.from_clips([clip, noise(20_123, seed=1)])
    for kind, layers in (("block", range(4)), ("ffn", range(1, 4)), ("output", [3])):
        found = encoder.features(batch, layers, kind)  # type: ignore[arg-type]
        for ours, theirs in zip(found.frames, expected[kind], strict=True):
            torch.testing.assert_close(ours[0], theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(ShapeError, match="equal length"):
        encoder.features(ClipBatch.from_clips([clip, noise(9000)]))


@pytest.mark.parametrize(
    ("code", "has_table"),
    [(NO_POST_INIT, False), (PLAIN_TABLE, True), (HIDDEN_TABLE, True)],
    ids=["no post_init", "a table that is an attribute", "a buffer that is not saved"],
)
def test_code_written_for_older_versions_gives_its_own_numbers(
    tmp_path: Path, code: str, has_table: bool
) -> None:
    folder = tmp_path / "student"
    weights = write_remote_student(folder, code=code)
    encoder = load_encoder(f"hf:{folder}", trust_remote_code=True)
    clip = noise(20_123)
    expected = reference(weights, torch.from_numpy(clip.samples), has_table=has_table)["block"]
    for ours, theirs in zip(encoder.encode(clip).frames, expected, strict=True):
        torch.testing.assert_close(ours[0], theirs, rtol=1e-4, atol=1e-5)


def test_weights_of_another_version_say_which_tensors(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    weights = write_remote_student(folder, code=NO_POST_INIT)
    path = folder / "model.safetensors"
    lacking = {name: tensor for name, tensor in weights.items() if name != "entry.bias"}
    other_shape = {**weights, "entry.bias": torch.zeros(3)}
    for tensors, words in (
        (lacking, r"1 of its tensors are missing \(the first is entry\.bias\), 0 have"),
        ({**weights, "blocks.9.bias": torch.zeros(16)}, r"1 have no place in it .*blocks\.9\.bias"),
        (other_shape, r"do not fit: .*size mismatch for entry\.bias"),
    ):
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(WeightsError, match=words):
            load_encoder(f"hf:{folder}", trust_remote_code=True)
    # The names of a model with a head around this one.
    headed = {f"body.{name}": tensor for name, tensor in weights.items()}
    save_file({**headed, "head.weight": torch.zeros(2)}, path, metadata={"format": "pt"})
    code = folder / "modeling_usad.py"
    code.write_text(
        code.read_text().replace(
            "config_class = USADConfig", 'config_class, base_model_prefix = USADConfig, "body"'
        )
    )
    assert load_encoder(f"hf:{folder}", trust_remote_code=True).spec.dims == (128, 16, 16, 16)


def test_a_long_clip_of_a_published_student(tmp_path: Path) -> None:
    """The network sees 400 samples around a frame, so windows must not show at all."""
    weights = write_remote_student(tmp_path / "student")
    encoder = load_encoder(f"hf:{tmp_path / 'student'}", trust_remote_code=True)
    clip = noise(41 * RATE)
    expected = reference(weights, torch.from_numpy(clip.samples))["block"]
    for ours, theirs in zip(encoder.encode(clip).frames, expected, strict=True):
        assert abs(ours.shape[1] - len(theirs)) <= 1
        n = min(ours.shape[1], len(theirs))
        torch.testing.assert_close(ours[0, :n], theirs[:n], rtol=1e-4, atol=1e-5)


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    source = HubSource(repo="me/model", licence="?", size_mb=1)

    def broken(*args: Any, **kwargs: Any) -> str:
        raise OSError("cable cut")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", broken)
    with pytest.raises(WeightsError, match=r"cable cut.*what has come is kept"):
        snapshots.fetch_snapshot("model", source)


def test_a_download_that_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(tmp_path))
    monkeypatch.setattr(snapshots, "repository_files", lambda source: [])
    source = HubSource(repo="me/model", licence="?", size_mb=1)
    with pytest.raises(WeightsError, match="no model of transformers"):
        snapshots.fetch_snapshot("model", source)


def test_loading_draws_nothing_from_the_generator(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    load_encoder(f"hf:{folder}")
    assert torch.equal(torch.rand(1), expected)


def test_asking_what_exists_imports_no_transformers() -> None:
    code = (
        "import sys; from usad_workbench.core.encoders.registry import encoder_specs, encoder_status; "
        "[encoder_status(name) for name in encoder_specs()]; "
        "sys.stdout.write(str([m for m in ('torch', 'transformers') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]"
