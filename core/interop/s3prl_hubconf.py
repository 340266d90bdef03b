"""Entry functions for s3prl's hub: ``from …s3prl_hubconf import usad_demo``."""

from typing import Any

from usad_workbench.core.interop.s3prl import UpstreamExpert as _UpstreamExpert


def usad_demo(**kwargs: Any) -> _UpstreamExpert:
    """The student that ships with this package."""
    return _UpstreamExpert(**{**kwargs, "ckpt": None})


def usad_local(ckpt: str, **kwargs: Any) -> _UpstreamExpert:
    """A student by ``run:DIR``, ``run:DIR@STEP`` or folder."""
    return _UpstreamExpert(ckpt=ckpt, **kwargs)
