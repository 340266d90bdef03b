"""How the app is started: the command line of the Streamlit process."""

import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAX_UPLOAD_MB = 500
"""An hour of stereo WAV at 44.1 kHz is 630 MB; its FLAC or MP3 fits."""


def streamlit_arguments() -> list[str]:
    """Streamlit's options: no telemetry, no developer tools, our looks."""
    return [
        "--server.headless", "true",
        "--server.fileWatcherType", "none",
        "--server.runOnSave", "false",
        "--server.showEmailPrompt", "false",
        "--server.maxUploadSize", str(MAX_UPLOAD_MB),
        "--browser.gatherUsageStats", "false",
        "--client.toolbarMode", "minimal",
        "--client.showErrorDetails", "none",
        "--client.showErrorLinks", "false",
        "--theme.base", str(HERE / "assets" / "theme.toml"),
    ]  # fmt: skip


def launch(
    workspace: Path, host: str = "127.0.0.1", port: int = 8501, runs: Sequence[Path] = ()
) -> list[str]:
    """The command that serves the app on a workspace until it is stopped.

    Args:
        workspace: Its folder.
        host: The address that is listened on.
        port: Of that address.
        runs: Folders of training runs; where none, ``runs`` beside the workspace.
    """
    return [
        sys.executable, "-m", "streamlit", "run", str(HERE / "app.py"),
        "--server.address", host, "--server.port", str(port),
        *streamlit_arguments(), "--", str(workspace),
        *(word for folder in runs for word in ("--runs", str(folder))),
    ]  # fmt: skip
