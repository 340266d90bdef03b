"""Models of a folder's own code: whether it may run, and how its class is given its tensors."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from usad_workbench.core.encoders.hub.tensors import read_tensors
from usad_workbench.core.errors import UntrustedCodeError, WeightsError

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)


def check_code(folder: Path, name: str, trust: bool) -> None:
    """Refuses a folder whose own code would run without the user's trust.

    Raises:
        UntrustedCodeError: it brings code, transformers has no class for it, and none is trusted.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = description(folder)
    if not config.get("auto_map") or config.get("model_type") in CONFIG_MAPPING or trust:
        return
    raise UntrustedCodeError(
        f"{name} brings code of its own ({', '.join(sorted(p.name for p in folder.glob('*.py')))}"
        f" in {folder}), which would run with your rights. Read it, then add --trust-remote-code "
        "(in Python trust_remote_code=True) if you trust it."
    )


def build_own(folder: Path, config: Any, weights: list[Path]) -> nn.Module:
    """A model of the folder's own code, made on the CPU and given its tensors one by one.

    Not by ``from_pretrained``: that of transformers 5 makes every model without memory at first.
    It fails for classes that never call ``post_init()``, as they were not asked to before, and
    leaves a table that is an attribute and no buffer without values. Both are so in the authors'
    first students.

    Raises:
        WeightsError: the file has other tensors than the class.
    """
    import torch
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    kind: Any = get_class_from_dynamic_module(
        auto_map(folder)["AutoModel"], str(folder), local_files_only=True
    )
    with torch.device("cpu"):
        net: nn.Module = kind(config)
    own = net.state_dict()
    prefix = f"{kind.base_model_prefix}." if kind.base_model_prefix else "\0"
    found = read_tensors(weights)
    # A checkpoint of a model with a head has the body's names behind a prefix.
    tensors = {n if n in own else n.removeprefix(prefix): t for n, t in found.items()}
    try:
        info = net.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # the shapes differ
        words = " ".join(str(error).split())
        raise WeightsError(f"The weights in {folder} do not fit: {words}") from error
    read = {own[name].data_ptr() for name in own if name not in info.missing_keys}
    missing = [
        name
        for name in info.missing_keys
        if own[name].data_ptr() not in read  # a tensor of two names is saved once
        and not _is_among(name, getattr(kind, "_keys_to_ignore_on_load_missing", None))
        and name != "masked_spec_embed"
    ]
    families = {_family(name) for name in own}
    left = [
        name
        for name in info.unexpected_keys
        if name != "masked_spec_embed"
        and not _is_among(name, getattr(kind, "_keys_to_ignore_on_load_unexpected", None))
    ]
    # One block more belongs to a deeper model; a head is no part of this one.
    unexpected = [name for name in left if _family(name) in families]
    if missing or unexpected:
        raise WeightsError(
            f"The weights in {folder} are not those of {kind.__name__}: {len(missing)} of its "
            f"tensors are missing{_first(missing)}, {len(unexpected)} have no place in it"
            f"{_first(unexpected)}. Expected code, config.json and weights of one version."
        )
    if left:
        logger.warning(
            "%s has no use for %d tensors of %s%s.", kind.__name__, len(left), folder, _first(left)
        )
    if getattr(config, "is_encoder_decoder", False):
        net = cast(Any, net).get_encoder()
    return net


def _family(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _is_among(name: str, patterns: Any) -> bool:
    return any(re.search(pattern, name) for pattern in patterns or ())


def _first(names: list[str]) -> str:
    return f" (the first is {min(names)})" if names else ""


def auto_map(folder: Path) -> dict[str, str]:
    """The classes of the folder's own code, by what transformers takes them for."""
    classes = description(folder).get("auto_map")
    return classes if isinstance(classes, dict) else {}


def description(folder: Path) -> dict[str, Any]:
    """The folder's config.json.

    Raises:
        WeightsError: it is not there, or holds no object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read: {error}. Expected the configuration of a model."
        ) from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds no object. Expected the configuration of a model.")
    return config
