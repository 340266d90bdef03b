"""The module ``faiss``, imported where it is needed: exactly one of its builds is installed.

``faiss-cpu`` and ``faiss-gpu`` both bring a module of this name, and whichever was installed last
overwrites the other; so neither is required, and each is an extra of its own. Where there is
none, search compares with every vector.
"""

from typing import Any

from usad_workbench.core.errors import ConfigError, MissingExtraError


def load_faiss() -> Any:
    """The module.

    Raises:
        MissingExtraError: no build of it is installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "Indexes need FAISS, which is not installed. `pip install 'usad-workbench[faiss]'` "
            "brings the build for CPUs, `usad-workbench[faiss-gpu]` that for CUDA; install one of "
            "them. Without it search compares with every vector."
        ) from error
    return faiss


def on_device(index: Any, device: str) -> Any:
    """The index on a device of its build, or as it is on the CPU.

    Raises:
        ConfigError: a build or a machine without such a device.
    """
    if device == "cpu":
        return index
    faiss = load_faiss()
    n_devices = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    kind, _, number = device.partition(":")
    if kind != "cuda" or not int(number or 0) < n_devices:
        raise ConfigError(
            f"The installed build of FAISS has {n_devices} devices, found --device {device}. "
            "`pip uninstall faiss-cpu`, then `pip install 'usad-workbench[faiss-gpu]'` brings the "
            "build for CUDA; --device cpu needs none."
        )
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), int(number or 0), index)


def on_cpu(index: Any) -> Any:
    """The index in the memory of the CPU, wherever it was."""
    faiss = load_faiss()
    return faiss.index_gpu_to_cpu(index) if hasattr(faiss, "index_gpu_to_cpu") else index
