"""Encoders from model folders: ``hf:FOLDER``, ``hf:OWNER/NAME`` and the named ones.

Code that a folder brings along runs only where the user trusts it; weights are read from
safetensors or with ``weights_only``. Nothing here uses the network but ``get``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usad_workbench.core.encoders.foreign import describe_error
from usad_workbench.core.encoders.hub.remote_code import (
    auto_map,
    build_own,
    check_code,
    description,
)
from usad_workbench.core.encoders.hub.snapshots import (
    get_snapshot,
    is_model_folder,
    local_snapshot,
    snapshot_missing_reason,
    weight_files,
)
from usad_workbench.core.encoders.hub.tensors import read_tensors
from usad_workbench.core.encoders.lazy import import_object
from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.errors import UsadError, WeightsError
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import nn

    from usad_workbench.core.encoders.hub.transformers_encoder import TransformersEncoder

HUB_PREFIX = "hf:"
_FRONT_END = ("preprocessor_config.json", "processor_config.json")
_REPO = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def load(spec: EncoderSpec, source: HubSource) -> TransformersEncoder:
    """A listed encoder of the hub, from the hub's cache.

    Args:
        spec: What the encoder's row says of it.
        source: Where the row says that it comes from.

    Raises:
        WeightsError: not on this machine, or not what the spec says.
    """
    encoder = load_folder(
        snapshot_folder(spec.name, source),
        trust_remote_code=source.needs_remote_code,
        tensors=source.tensors,
        name=spec.name,
        role=spec.role,
        domain=spec.domain,
        licence=spec.licence,
        citation=spec.citation,
    )
    found = encoder.spec
    if (found.dims, found.frame_rates_hz) != (spec.dims, spec.frame_rates_hz):
        raise WeightsError(
            f"{source.repo} holds {found.n_layers} layers of width {found.dims[-1]} at "
            f"{found.frame_rates_hz[-1]:g} Hz, {spec.name} is listed with {spec.n_layers} of "
            f"{spec.dims[-1]} at {spec.frame_rates_hz[-1]:g} Hz. Name it {HUB_PREFIX}{source.repo}."
        )
    encoder.spec = spec
    return encoder


def load_by_name(name: str, *, trust_remote_code: bool = False) -> TransformersEncoder:
    """The model that ``hf:FOLDER`` or ``hf:OWNER/NAME[@REVISION]`` names.

    Its role is control, unless it is a published student: who taught whom is for the user to say.

    Raises:
        WeightsError: no such folder, not on this machine, or no model.
        ConfigError: code that is not trusted, or a model that cannot be an encoder.
    """
    reason = missing_reason(name)
    if reason is not None:
        raise WeightsError(reason)
    text = name.removeprefix(HUB_PREFIX)
    folder = model_folder(name)
    return load_folder(
        folder,
        trust_remote_code=trust_remote_code,
        name=name,
        domain=None,
        licence=_licence(folder),
        citation=folder.name if _local(text) else _source(text).url,
    )


def missing_reason(name: str) -> str | None:
    """Why ``hf:…`` cannot be loaded here, or nothing. Does not read the weights."""
    text = name.removeprefix(HUB_PREFIX)
    folder = _local(text)
    if folder is not None:
        if is_model_folder(folder):
            return None
        return (
            f"{text} is no model folder: expected config.json and all weights "
            "(model.safetensors, its shards, or pytorch_model.bin), as save_pretrained writes "
            f"them; found {_names(folder)}."
        )
    if not _is_repository(text):
        return (
            f"{name} names neither a folder that exists nor a repository of the hub. Expected "
            f"{HUB_PREFIX}FOLDER or {HUB_PREFIX}OWNER/NAME, optionally with @REVISION."
        )
    reason = snapshot_missing_reason(name, _source(text))
    return reason and f"There is no folder {text} here. As a repository of the hub: {reason}"


def get(name: str, progress: Progress = no_progress) -> Path:
    """Downloads the repository that ``hf:OWNER/NAME`` names, unless it is a folder.

    Raises:
        WeightsError: neither folder nor repository, or it could not be downloaded.
    """
    text = name.removeprefix(HUB_PREFIX)
    folder = _local(text)
    if folder is None and _is_repository(text):
        return get_snapshot(name, _source(text), progress)
    reason = missing_reason(name)
    if folder is None or reason is not None:
        raise WeightsError(str(reason))
    return folder


def model_folder(name: str) -> Path:
    """Where the model of ``hf:FOLDER``, ``hf:OWNER/NAME`` or a path lies on this machine.

    Raises:
        WeightsError: no such folder, or not fetched yet.
    """
    text = name.removeprefix(HUB_PREFIX)
    folder = _local(text)
    if folder is not None:
        return folder
    if not _is_repository(text):
        raise WeightsError(f"{name} is no folder. {missing_reason(name)}")
    return snapshot_folder(name, _source(text))


def snapshot_folder(name: str, source: HubSource) -> Path:
    """Where the hub's cache has the repository of an encoder.

    Raises:
        WeightsError: not fetched yet, or not whole.
    """
    folder = local_snapshot(source)
    if folder is None:
        raise WeightsError(str(snapshot_missing_reason(name, source)))
    return folder


def load_folder(
    folder: Path,
    *,
    trust_remote_code: bool = False,
    tensors: tuple[str, ...] = (),
    **described: Any,
) -> TransformersEncoder:
    """The encoder of a model folder.

    Args:
        folder: What ``save_pretrained`` or the hub's cache holds.
        trust_remote_code: Whether its own code may run.
        tensors: Beginnings of the names of those that are needed; all where empty.
        described: What the folder does not say of itself, for the spec.

    Raises:
        WeightsError: a folder that is damaged or holds no such weights.
        ConfigError: code that is not trusted, or a model that cannot be an encoder.
    """
    import torch

    from usad_workbench.core.encoders.hub.families import find_family
    from usad_workbench.core.encoders.hub.torchaudio_shim import torchaudio_stand_in

    config = description(folder)
    family = find_family(config)
    weights = weight_files(folder, tensors)
    check_code(folder, str(described["name"]), trust_remote_code)
    runs_own_code = trust_remote_code and "auto_map" in config
    stand_in = torchaudio_stand_in() if runs_own_code else nullcontext()
    # Initial values are drawn and thrown away: a seeded run must not notice.
    with torch.random.fork_rng(devices=[]), transformers_errors(folder), stand_in:
        extractor = _extractor(family, folder, str(described["name"]), trust_remote_code)
        net = _build(family, folder, weights, trust_remote_code)
        return family(net.float().eval(), extractor, sha256_of_model(folder, weights), **described)


def _extractor(family: type[TransformersEncoder], folder: Path, name: str, trust: bool) -> Any:
    try:
        return family.load_extractor(folder, trust)
    except OSError as error:
        if any((folder / file).is_file() for file in _FRONT_END):
            raise
        raise WeightsError(
            f"{folder} is no audio model, or lacks the settings of its front end "
            f"({' or '.join(_FRONT_END)}). If it is of the hub, `usad encoders get {name}` fetches "
            "them; else save the feature extractor that it was trained with to the folder."
        ) from error


def _build(
    family: type[TransformersEncoder], folder: Path, weights: list[Path], trust: bool
) -> nn.Module:
    import transformers

    config = family.read_config(folder, trust)
    if not family.model and trust and "AutoModel" in auto_map(folder):
        return build_own(folder, config, weights)
    if not family.model:
        net, info = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            trust_remote_code=trust,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        missing = [*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]
        if getattr(config, "is_encoder_decoder", False):
            net = net.get_encoder()
    else:
        net = import_object(family.model)(config)
        tensors = read_tensors(weights, family.prefixes, set(net.state_dict()))
        missing = list(net.load_state_dict(tensors, strict=False).missing_keys)
    # Only pre-training uses it, and fine-tuned models are saved without.
    missing = [name for name in missing if name != "masked_spec_embed"]
    if missing:
        raise WeightsError(
            f"The weights in {folder} lack {len(missing)} tensors of {type(net).__name__}, or have "
            f"them in other shapes, the first is {min(missing)}. Expected a whole model of that "
            "class, and its config.json."
        )
    module: nn.Module = net
    return module


@contextmanager
def transformers_errors(folder: Path) -> Iterator[None]:
    """Raises what transformers makes of an unusable folder as a ``WeightsError``."""
    from safetensors import SafetensorError

    try:
        yield
    except UsadError:
        raise
    except SafetensorError as error:
        raise WeightsError(
            f"The weights in {folder} are damaged: {error}. Get them again."
        ) from error
    except Exception as error:  # a folder's own code may raise anything
        raise WeightsError(
            f"transformers cannot load {folder}: {describe_error(error)}. Expected an audio model with its "
            "feature extractor (preprocessor_config.json), of a version that this one reads."
        ) from error


def _licence(folder: Path) -> str:
    """What the model card says, or where to look."""
    from huggingface_hub import metadata_load

    try:
        card = metadata_load(folder / "README.md") or {}
    except Exception:  # noqa: BLE001 - a card is free text, and its YAML may be anything
        card = {}
    named = card.get("license_name") if card.get("license") == "other" else card.get("license")
    return named if isinstance(named, str) and named else "see its model card"


def sha256_of_model(folder: Path, weights: list[Path]) -> str:
    """Of all that decides what the model computes: weights, configuration, code."""
    files = [*weights, *folder.glob("*config.json"), *folder.glob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(set(files), key=lambda path: path.name):
        digest.update(f"{path.name} {sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def _local(text: str) -> Path | None:
    """The folder that a path names, if there is one."""
    folder = Path(text).expanduser() if text else None
    return folder if folder is not None and folder.is_dir() else None


def _is_repository(text: str) -> bool:
    """Whether it has the form of OWNER/NAME; the hub is not asked."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not in __all__
        HFValidationError,
        validate_repo_id,
    )

    match = _REPO.fullmatch(text)
    if match is None:
        return False
    try:
        validate_repo_id(match["repo"])
    except HFValidationError:
        return False
    return True


def _source(text: str) -> HubSource:
    match = _REPO.fullmatch(text)
    if match is None:
        raise WeightsError(f"{text} is no repository of the hub. Expected OWNER/NAME.")
    return HubSource(
        repo=match["repo"],
        revision=match["revision"] or "main",
        licence="see its model card",
        size_mb=0.0,
    )


def _names(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:8]) + (" and more" if len(names) > 8 else "") or "nothing"
