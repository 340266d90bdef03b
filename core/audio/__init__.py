"""Audio files: what is decoded, what is truncated, what counts as audio."""

from usad_workbench.core.audio.reading import read_audio

__all__ = ["read_audio"]
