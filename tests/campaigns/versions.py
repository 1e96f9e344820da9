"""Run the fast tests and the demo with the lowest versions that pyproject.toml allows, or with the newest.

    python tests/campaigns/versions.py --python python3.10 --venv /tmp/lowest
    python tests/campaigns/versions.py --python python3.14 --venv /tmp/newest --newest

Makes a virtual environment, installs every dependency with its extras at its lower bound, and runs there, with this
copy of medseg: `medseg --help`, the fast tests and, unless `--no-demo`, the demo. An environment that is there already
is used as it is. `--torch any` leaves the version of torch open, where its lower bound cannot be installed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_NEEDED = ("docs", "notebooks", "dev")
"""Extras that no verb needs: what builds the site, shows notebooks, and the tools."""


def requirements() -> list[str]:
    """Return what medseg and its extras require, as pyproject.toml says it."""
    text = (ROOT / "pyproject.toml").read_text()
    listed = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = [name for name in re.findall(r"^(\w+) = \[", listed, re.MULTILINE) if name not in NOT_NEEDED]
    found = []
    for name in ("dependencies", *extras):
        section = re.search(rf"^{name} = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
        assert section is not None, name
        found += re.findall(r'"([^"]+)"', section[1])
    return [*dict.fromkeys(found)]


def lowest(requirement: str) -> str:
    """Return a requirement of the lower bound itself; one without a bound, which others decide, stays as it is.

    >>> lowest("torch>=2.8,!=2.9.*"), lowest("typer>=0.15.4; platform_machine == 'x86_64'"), lowest("torchvision")
    ('torch==2.8.*', 'typer==0.15.4', 'torchvision')
    """
    name, bound, version = requirement.partition(";")[0].split(",")[0].partition(">=")
    return f"{name}=={version}" + (".*" if version.count(".") < 2 else "") if bound else name


def pins(newest: bool, torch: str) -> list[str]:
    """Return what is to be installed. With `*` the oldest release of a series is meant, which `main` looks up."""
    wanted = [text if newest else lowest(text) for text in requirements()]
    return [text for text in wanted if torch == "bound" or not text.startswith("torch")]


def install(python: Path, wanted: list[str]) -> None:
    """Install requirements; of `name==1.2.*` the first release of the series that is not withdrawn."""
    exact = []
    for text in wanted:
        if not text.endswith(".*"):
            exact.append(text)
            continue
        name, series = text[:-2].split("==")
        listed = subprocess.run(
            [python, "-m", "pip", "index", "versions", name], capture_output=True, text=True, check=True
        ).stdout
        versions = re.findall(
            rf"(?<![\d.])({re.escape(series)}(?:\.\d+)*)(?=[,\s])",
            listed.partition("Available versions:")[2].split("\n")[0] + "\n",
        )
        exact.append(f"{name}=={versions[-1] if versions else series}")
    sys.stdout.write("\n".join(exact) + "\n")
    subprocess.run([python, "-m", "pip", "install", "-q", *exact], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter")
    parser.add_argument("--venv", type=Path, help="where the environment is made, and kept")
    parser.add_argument("--newest", action="store_true", help="the newest versions, instead of the lowest")
    parser.add_argument("--torch", choices=("bound", "any"), default="bound")
    parser.add_argument("--demo", action=argparse.BooleanOptionalAction, default=True)
    words = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="versions-"))
    venv = words.venv or folder / "venv"
    python = venv.absolute() / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        subprocess.run([words.python, "-m", "venv", venv], check=True)
        install(python, pins(words.newest, words.torch) + ([] if words.torch == "bound" else ["torch"]))
    # what a package says of itself, `medseg doctor` reads from its installation
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "-e", ROOT], check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    steps = {
        "help": ["-m", "medseg", "--help"],
        "fast tests": ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not real"],
        "demo": ["-m", "medseg", "demo", str(folder / "demo")],
    }
    failed = 0
    for name, command in steps.items():
        if name == "demo" and not words.demo:
            continue
        code = subprocess.run([python, *command], cwd=ROOT, env=environment, check=False).returncode
        sys.stdout.write(f"{name}: {'well' if code == 0 else f'FAILED, exit code {code}'}\n")
        failed += code != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
