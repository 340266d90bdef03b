"""Encoders by name: what exists, what is usable here, and how to get one.

A name is one of a table (``usad encoders list``): encoders whose weights install from
package registries, the shipped student ``usad-demo``, those of the Hugging Face hub, those
of installed plugins (entry points ``usad_workbench.encoders``). Or it has a prefix and can be
anything: ``run:DIR`` or ``run:DIR@STEP`` a trained student, ``hf:FOLDER`` or
``hf:OWNER/NAME`` a model of transformers, ``hear:MODULE[:WEIGHTS]`` and
``xares:MODULE:CLASS`` an encoder for these benchmarks. Neither torch nor any weights are
imported to answer what exists.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.core.encoders.catalogue import encoder_row, encoder_rows, setup_rows
from usad_workbench.core.encoders.foreign import foreign_code
from usad_workbench.core.encoders.hub.snapshots import (
    get_snapshot,
    snapshot_missing_reason,
)
from usad_workbench.core.encoders.lazy import import_object
from usad_workbench.core.encoders.row import EncoderRow, HubSource
from usad_workbench.core.encoders.sources import FileSource, WeightsSource
from usad_workbench.core.encoders.students import (
    RUN_PREFIX,
    SHIPPED_NAME,
    run_spec,
    shipped_missing_reason,
)
from usad_workbench.core.encoders.trust import is_trusted
from usad_workbench.core.encoders.weights import fetch_weights, missing_reason
from usad_workbench.core.errors import (
    CheckpointError,
    UntrustedCodeError,
    WeightsError,
)
from usad_workbench.core.models.devices import usable_device
from usad_workbench.core.models.spec import EncoderSpec, Precision
from usad_workbench.core.progress import Progress, no_progress

if TYPE_CHECKING:
    from usad_workbench.core.models.encoder import Encoder

_ENCODERS = "usad_workbench.core.encoders"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opener:
    """Who opens names of a prefix, whose encoders are known once they are loaded."""

    load: str
    """``module:function`` of the name and ``trust_remote_code``."""
    missing_reason: str
    """``module:function``: why a name cannot be loaded here, or nothing."""
    get: str = ""
    """``module:function`` that fetches the weights, where there is such a thing."""


_OPENERS = {
    "hf:": _Opener(
        load=f"{_ENCODERS}.hub.folder:load_by_name",
        missing_reason=f"{_ENCODERS}.hub.folder:missing_reason",
        get=f"{_ENCODERS}.hub.folder:get",
    ),
    "hear:": _Opener(
        load=f"{_ENCODERS}.benchmark_modules:load_hear",
        missing_reason=f"{_ENCODERS}.benchmark_modules:missing_reason",
    ),
    "xares:": _Opener(
        load=f"{_ENCODERS}.benchmark_modules:load_xares",
        missing_reason=f"{_ENCODERS}.benchmark_modules:missing_reason",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderStatus:
    """Whether an encoder can be loaded on this machine."""

    available: bool
    reason: str
    """Why not and what to do; empty where it is available."""
    needs: str = ""
    """What has to be on this machine; empty where nothing has to be fetched."""


def encoder_specs() -> dict[str, EncoderSpec]:
    """Every encoder that has a name of its own, in the order in which they are listed.

    >>> "whisper-tiny.en" in encoder_specs()
    True
    """
    return {name: row.spec for name, row in encoder_rows().items()}


def setup_encoders() -> dict[str, EncoderSpec]:
    """Those that ``make setup`` and ``get --all`` fetch, or that need no weights at all.

    The others are large, of the hub or of other packages: they are used when named.

    >>> "whisper-large-v3" in setup_encoders()
    False
    """
    return {name: row.spec for name, row in setup_rows().items()}


def encoder_spec(name: str) -> EncoderSpec:
    """The spec of one encoder, trained students (``run:DIR``) included.

    An encoder of another prefix is loaded for it: only then is it known.

    Raises:
        UnknownNameError: no such encoder.
        CheckpointError: no such run or step.
        WeightsError: no such model folder.
        ConfigError: a model that brings its own code, which is not trusted here.
    """
    return load_encoder(name).spec if _opener(name) else encoder_row(name).spec


def encoder_status(name: str) -> EncoderStatus:
    """Whether an encoder can be loaded here, without loading it.

    Raises:
        UnknownNameError: no such encoder.
    """
    reason: str | None = None
    needs = ""
    opener = _opener(name)
    if opener:
        reason = import_object(opener.missing_reason)(name)
    elif name.startswith(RUN_PREFIX):
        try:
            run_spec(name)
        except CheckpointError as error:
            reason = str(error)
    elif name == SHIPPED_NAME:
        reason = shipped_missing_reason()
    else:
        source = encoder_row(name).source
        needs = source.needs if source else ""
        if isinstance(source, HubSource):
            reason = snapshot_missing_reason(name, source)
        elif source is not None:
            reason = missing_reason(name, source)
    return EncoderStatus(available=reason is None, reason=reason or "", needs=needs)


def load_encoder(
    name: str,
    device: str = "cpu",
    *,
    precision: Precision = "float32",
    trust_remote_code: bool = False,
) -> Encoder:
    """An encoder with its weights.

    Args:
        name: A name of ``encoder_specs()``, or one with a prefix (see the module).
        device: A torch device, or ``auto`` for an accelerator where there is one.
        precision: In which it computes; what ``embed`` gives is float32 always.
        trust_remote_code: Whether code that comes with a model of the hub may run; see
            ``trusting_remote_code`` for whole pieces of work.

    Returns:
        The encoder: ``encode`` gives frames per layer, ``embed`` one vector per layer, ``spec``
        what it is.

    Raises:
        UnknownNameError: no such encoder.
        ConfigError: no such device or precision, or code that is not trusted.
        WeightsError: the weights have not been fetched, or are damaged.
        CheckpointError: no such run or step.
    """
    trust_remote_code = trust_remote_code or is_trusted()
    opener = _opener(name)
    if opener:
        chosen = usable_device(device)
        loaded: Encoder = import_object(opener.load)(name, trust_remote_code=trust_remote_code)
        return loaded.to(chosen).in_precision(precision)
    row = encoder_row(name)
    chosen = usable_device(device)
    _check_trust(name, row, trust_remote_code)
    with _of_others(name, row):
        loaded = _load_row(row)
    return loaded.to(chosen).in_precision(precision)


def get_weights(
    name: str,
    progress: Progress = no_progress,
    *,
    keep_wheels: bool = False,
    trust_remote_code: bool = False,
    from_file: Path | None = None,
) -> Path | None:
    """Fetches, verifies and converts the weights of an encoder, unless they are there.

    Args:
        name: A name of ``encoder_specs()``, or one with a prefix.
        progress: Told of each step.
        keep_wheels: See ``fetch_weights``.
        trust_remote_code: Whether code that comes with a model of the hub may run later.
        from_file: The checkpoint of an encoder that no program can download.

    Returns:
        Their folder; nothing where an encoder has no weights to fetch.

    Raises:
        UnknownNameError: no such encoder.
        ConfigError: it brings its own code, which is not trusted.
        WeightsError: no network, a package that is gone or has changed, a wrong file.
    """
    opener = _opener(name)
    if from_file is not None and (
        opener or not isinstance(encoder_row(name).source, FileSource | WeightsSource)
    ):
        raise WeightsError(
            f"{name} is not read from a file, found {from_file}. Leave it out; "
            "`usad encoders list` says what each encoder needs."
        )
    if opener:
        folder: Path | None = import_object(opener.get)(name, progress) if opener.get else None
        return folder
    row = encoder_row(name)
    if row.source is None:
        return None
    if isinstance(row.source, HubSource):
        _check_trust(name, row, trust_remote_code)
        return get_snapshot(name, row.source, progress)
    return fetch_weights(name, row.source, progress, keep_wheels=keep_wheels, from_file=from_file)


def model_folder(name: str) -> Path:
    """The folder of a model of the hub on this machine.

    Args:
        name: A listed encoder of the hub, ``hf:FOLDER``, ``hf:OWNER/NAME`` or a path.

    Raises:
        WeightsError: no such folder, or not fetched yet.
    """
    from usad_workbench.core.encoders.hub import folder

    row = encoder_rows().get(name)
    if row is not None and isinstance(row.source, HubSource):
        return folder.snapshot_folder(name, row.source)
    return folder.model_folder(name)


def _load_row(row: EncoderRow) -> Encoder:
    """What the loader of a row gives; weights of this package's cache are checked before."""
    load = import_object(row.loader)
    if isinstance(row.source, HubSource):
        loaded: Encoder = load(row.spec, row.source)
        return loaded
    reason = missing_reason(row.spec.name, row.source) if row.source is not None else None
    if reason is not None:
        raise WeightsError(reason)
    loaded = load(row.spec)
    return loaded


def _of_others(name: str, row: EncoderRow) -> AbstractContextManager[None]:
    """Errors of a plugin's code are described; a mistake of this package keeps its traceback."""
    if row.loader.startswith(f"{_ENCODERS}."):
        return nullcontext()
    return foreign_code(
        f"The plugin of {name} ({row.loader})", "Expected an encoder; tell its authors."
    )


def _opener(name: str) -> _Opener | None:
    prefix, colon, _ = name.partition(":")
    return _OPENERS.get(prefix + colon)


def _check_trust(name: str, row: EncoderRow, trust: bool) -> None:
    if isinstance(row.source, HubSource) and row.source.needs_remote_code and not trust:
        raise UntrustedCodeError(
            f"{name} runs code of the repository {row.source.repo} with your rights. Read it on "
            f"{row.source.url}, then add --trust-remote-code (in Python trust_remote_code=True) "
            "if you trust it."
        )
