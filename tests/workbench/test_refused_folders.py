"""Model folders that cannot run: `usad embed` says why, and the workspace keeps nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core.encoders.hub_folders import SAMPLES, save
from usad_workbench.core.storage.importing import import_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main
from usad_workbench.workbench.speed.adapters import short_clips


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def no_hidden_states(folder: Path) -> None:
    """A type without an adapter, whose output has none."""
    import transformers

    for path in folder.iterdir():
        path.unlink()
    config = transformers.EncodecConfig(
        num_filters=2, hidden_size=8, codebook_size=16, codebook_dim=8, num_lstm_layers=1
    )
    transformers.EncodecModel(config).save_pretrained(folder)
    transformers.EncodecFeatureExtractor(sampling_rate=24_000).save_pretrained(folder)


DAMAGE = {
    "no config": (without("config.json"), "is no model folder"),
    "no weights": (without("model.safetensors"), "is no model folder"),
    "no preprocessor": (without("preprocessor_config.json"), "preprocessor_config.json"),
    "cut weights": (cut_weights, "damaged"),
    "no hidden states": (no_hidden_states, "gives no hidden states"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_folder_that_cannot_run_is_refused(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, said = DAMAGE[case]
    save(SAMPLES["hubert-layer"], tmp_path / "model")
    damage(tmp_path / "model")
    workspace = Workspace.create(tmp_path / "workspace")
    import_clips(workspace, short_clips(1)[:1])
    name, where = f"hf:{tmp_path / 'model'}", ("--workspace", str(workspace.folder), "--json")
    assert main(["embed", "--encoders", name, *where]) == 2
    said_by = capsys.readouterr().err
    assert said in said_by and "Traceback" not in said_by
    assert workspace.spaces().empty
    assert workspace.sql("SELECT * FROM encoders").empty
    # Beside an encoder that runs it is one failure of a run that went on.
    assert main(["embed", "--encoders", f"log-mel-statistics,{name}", *where]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [said in failure["reason"] for failure in document["failed"]] == [True]
    assert set(workspace.spaces().encoder) == {"log-mel-statistics"}
