"""Build the root file system of a Dockerfile where no Docker daemon runs, and run its entry point in it.

It needs debootstrap, and root:

    sudo python docker/without_docker.py docker/cpu/Dockerfile ROOT --mount "$PWD/scans:/in" --mount "$PWD/out:/out" \\
        --mount "$PWD/liver.medseg:/model.medseg" -- predict /in /out --model /model.medseg

`--build-arg NAME=VALUE` sets an ARG, `--build-mount FOLDER:/target` shows RUN a folder, `--base FOLDER` begins with a
root file system of debootstrap, `--built` runs what an earlier call built.

It knows what the Dockerfiles here use: FROM a release of Debian, RUN, COPY, ARG, ENV, USER, WORKDIR, ENTRYPOINT, CMD.
The entry point runs as the image's user in a network namespace of its own, which has no network. Nothing else of a
container is imitated: no limits, and no image is made.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT = Path(__file__).resolve().parents[1]
MIRROR = "http://deb.debian.org/debian"
_NO_CACHES = shutil.ignore_patterns("__pycache__")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """A stage of a build.

    Attributes:
        root: its root file system.
        environment: variables of ENV and ARG.
        user: who runs the entry point.
        folder: the working directory.
        entry_point: what is run.
        default_arguments: what follows it if nothing else is given.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    user: str = "root"
    folder: str = "/"
    entry_point: list[str] = field(default_factory=list)
    default_arguments: list[str] = field(default_factory=list)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, each with what follows it; comments are left out."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


@dataclass
class Maker:
    """What fills the root file systems of stages.

    Attributes:
        mounts: folders of this machine that RUN sees, as `FOLDER:/target`.
        base: a root file system of debootstrap to begin with; None to make one.
    """

    mounts: list[str]
    base: Path | None = None

    def begin(self, root: Path, release: str) -> None:
        """Make the root file system of a release of Debian."""
        root.parent.mkdir(parents=True, exist_ok=True)
        if self.base is None:
            subprocess.run(["debootstrap", "--variant=minbase", release, str(root), MIRROR], check=True)
        else:
            subprocess.run(["cp", "-a", "--reflink=auto", str(self.base), str(root)], check=True)
        shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")

    def run(self, stage: Stage, command: str) -> None:
        """Run a command of RUN."""
        _run(stage, ["sh", "-euc", command], {**stage.environment, **_certificates()}, *self.mounts)

    def copy(self, stage: Stage, rest: str, stages: dict[str, Stage]) -> None:
        """Copy files of the context, or of an earlier stage."""
        *sources, target = rest.split()
        origin = CONTEXT
        if sources[0].startswith("--from="):
            origin = stages[sources.pop(0).removeprefix("--from=")].root
        folder = "" if target.startswith("/") else stage.folder.lstrip("/")
        into = stage.root / folder / target.lstrip("/")
        for source in sources:
            path = origin / source.lstrip("/")
            if path.is_dir():
                shutil.copytree(path, into, symlinks=True, ignore=_NO_CACHES, dirs_exist_ok=True)
            else:
                file = into / path.name if target.endswith("/") else into
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, file)


def build(dockerfile: Path, folder: Path, arguments: dict[str, str], maker: Maker | None) -> Stage:
    """Build every stage of a Dockerfile below a folder, and return the last.

    Args:
        dockerfile: what to build.
        folder: where the root file systems are put.
        arguments: values for ARG.
        maker: fills them; None if they are there already.

    Raises:
        ValueError: an instruction is not known here.
    """
    stages: dict[str, Stage] = {}
    stage = Stage(folder)
    for name, rest in instructions(dockerfile):
        if name == "FROM":
            image, *alias = rest.split(" AS ")
            stage = Stage(folder / (alias[0] if alias else "final"))
            stages[stage.root.name] = stage
            if maker is not None:
                maker.begin(stage.root, image.partition(":")[2].removesuffix("-slim"))
        elif name == "ARG":
            key, _, value = rest.partition("=")
            stage.environment[key] = arguments.get(key, value)
        elif name == "ENV":
            stage.environment |= dict(part.split("=", 1) for part in shlex.split(rest))
        elif name == "USER":
            stage.user = rest
        elif name == "WORKDIR":
            stage.folder = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name in ("ENTRYPOINT", "CMD"):
            setattr(stage, "entry_point" if name == "ENTRYPOINT" else "default_arguments", json.loads(rest))
        elif name not in ("RUN", "COPY"):
            raise ValueError(f"{dockerfile} has {name}, which this script does not know")
        elif maker is not None and name == "RUN":
            maker.run(stage, rest)
        elif maker is not None:
            maker.copy(stage, rest, stages)
    return stage


def _certificates() -> dict[str, str]:
    """Return variables that name this machine's certificates, which builds behind a proxy need."""
    return dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), "/tmp/certificates.crt") if _bundle() else {}


def _bundle() -> Path | None:
    path = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    return path if path.is_file() else None


def _run(stage: Stage, command: list[str], environment: dict[str, str], *options: str, user: str = "root") -> None:
    """Run a command in the root file system of a stage, with devices and processes."""
    if bundle := _bundle():
        shutil.copy(bundle, stage.root / "tmp" / "certificates.crt")
    variables = [f"{key}={value}" for key, value in environment.items()]
    inner = [f"mount -t proc proc {stage.root}/proc", f"mount --rbind /dev {stage.root}/dev"]
    inner.append(f"mount --rbind /sys {stage.root}/sys")
    inner += [
        f"mkdir -p {stage.root}{target} && mount --bind {source} {stage.root}{target}"
        if Path(source).is_dir()
        else f"touch {stage.root}{target} && mount --bind {source} {stage.root}{target}"
        for source, _, target in (option.partition(":") for option in options)
    ]
    entry = f"cd {stage.folder} && exec {shlex.join(['env', '-i', *variables, *command])}"
    chroot = ["chroot", f"--userspec={user}", str(stage.root), "sh", "-c", entry]
    namespaces = ["--mount", "--pid", "--fork", *(["--net"] if user != "root" else [])]
    subprocess.run(["unshare", *namespaces, "sh", "-euc", f"{'; '.join(inner)}; exec {shlex.join(chroot)}"], check=True)


def main() -> None:
    """Build, and run what stands behind `--`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--build-arg", action="append", default=[])
    parser.add_argument("--mount", action="append", default=[])
    parser.add_argument("--base", type=Path)
    parser.add_argument("--built", action="store_true")
    parser.add_argument("--build-mount", action="append", default=[])
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, arguments = sys.argv[1:end], sys.argv[end + 1 :]
    given = parser.parse_args(own)
    pairs = dict(text.split("=", 1) for text in given.build_arg)
    maker = None if given.built else Maker(given.build_mount, given.base)
    stage = build(given.dockerfile, given.folder.resolve(), pairs, maker)
    size = subprocess.run(["du", "-sm", str(stage.root)], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"{stage.root}: {size} MiB", file=sys.stderr)
    command = [*stage.entry_point, *(arguments or stage.default_arguments)]
    _run(stage, command, stage.environment, *given.mount, user=stage.user)


if __name__ == "__main__":
    main()
