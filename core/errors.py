"""The one error tree of the package.

Everything a user can cause is a ``UsadError``: the command line and the app show
its message without a traceback. Each child also inherits the builtin that a
caller would expect, so ``except ValueError`` keeps working.

A message has three parts: what was found, what was expected, what to do.
"""


class UsadError(Exception):
    """Base of every error that a user is shown without a traceback."""


class ConfigError(UsadError, ValueError):
    """A recipe, an override or an argument that cannot be used."""


class UntrustedCodeError(ConfigError):
    """A model whose own code would have to run, where nobody has said that it may."""


class AudioError(UsadError, ValueError):
    """Audio that is unreadable, empty, non-finite, silent or too short."""


class ShapeError(UsadError, ValueError):
    """Arrays that do not fit together."""


class DegenerateError(UsadError, ValueError):
    """Input for which the asked quantity is mathematically undefined."""


class UnknownNameError(UsadError, LookupError):
    """A name that is not registered; the message lists the nearest ones."""


class StoreError(UsadError, RuntimeError):
    """A workspace that is damaged, locked or of another version."""


class ProvenanceError(StoreError):
    """Two things that must not be compared: other weights, rate, window or code."""


class CheckpointError(UsadError, RuntimeError):
    """A checkpoint that is damaged or does not belong to this recipe."""


class WeightsError(UsadError, RuntimeError):
    """Pretrained weights that are missing, changed or could not be fetched."""


class HubError(WeightsError):
    """A hub that cannot be reached, or does not give what was asked for."""


class EncoderError(UsadError, RuntimeError):
    """An encoder that fails on audio, such as a model's own code on a clip it was not made for."""


class DeviceMemoryError(UsadError, RuntimeError):
    """A single clip for which the device has no memory."""


class WorkerError(UsadError, RuntimeError):
    """A worker process that ended in the middle of its work, as when memory runs out."""


class MissingExtraError(UsadError, ImportError):
    """An optional dependency that is not installed; the message names the extra."""


class TrainingError(UsadError, RuntimeError):
    """A run that cannot go on, e.g. a loss that is not finite."""


class Cancelled(UsadError):
    """Raised by a progress callback to stop the work between two items."""
