"""The devices of torch by the names that people give."""

from usad_workbench.core.errors import ConfigError


def usable_device(name: str) -> str:
    """A device by name, once a value has been on it; ``auto`` resolved.

    Raises:
        ConfigError: torch knows no such device, or it cannot be used here.

    >>> usable_device("cpu")
    'cpu'
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"{name} is no device of torch. Use auto, cpu, cuda or cuda:1."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{name} was asked for, {torch.cuda.device_count()} CUDA devices were found. "
            "Use auto or cpu."
        )
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"{name} cannot be used here: {str(error).splitlines()[0]} Use auto or cpu."
        ) from error
    return name
