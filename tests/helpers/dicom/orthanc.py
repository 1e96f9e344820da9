"""Orthanc, a PACS, for as long as someone listens: `python orthanc.py FOLDER` starts one in an empty folder.

It answers on the loopback interface only, on free ports, without passwords, and keeps everything in the folder. Its
ports are printed as a line of JSON once it answers. It is stopped when standard input ends: at the latest when the
process that started it is gone.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

AE_TITLE = "ORTHANC"
_LONGEST_START_SECONDS = 30.0
_PLUGINS = (Path("/usr/lib/orthanc"), Path("/usr/share/orthanc/plugins"), Path("/usr/local/share/orthanc/plugins"))


@dataclass(frozen=True)
class Orthanc:
    """One that runs.

    Attributes:
        dicom_port: for C-STORE, C-FIND, C-GET.
        url: of its REST interface; DICOMweb is below, at `dicom-web`.
        version: as it says itself.
    """

    dicom_port: int
    url: str
    version: str


def program() -> str | None:
    """Orthanc's program; Debian keeps it out of the path of most users."""
    return shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def dicomweb_plugin() -> Path | None:
    """The library that speaks DICOMweb, where it is installed."""
    return next((path for folder in _PLUGINS for path in sorted(folder.glob("libOrthancDicomWeb.so*"))), None)


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """Orthanc while the block lasts, stopped at its end, and also if this process is killed in between."""
    starter = subprocess.Popen(
        [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    try:
        line = starter.stdout.readline()
        if not line:
            log = folder / "log.txt"
            raise RuntimeError(f"Orthanc did not start:\n{log.read_text()[-2000:] if log.exists() else ''}")
        yield Orthanc(**json.loads(line))
    finally:
        starter.stdin.close()
        starter.wait(timeout=60)


def main(folder: Path) -> None:
    """Start, tell, wait for the end of standard input, stop."""
    web, dicom = _free_ports(2)
    settings = {
        "Name": "medseg's test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": AE_TITLE,
        "DicomPort": dicom,
        "HttpPort": web,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "Plugins": [str(dicomweb_plugin())],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "storage").mkdir(parents=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [str(program()), str(folder / "orthanc.json")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{web}"
            print(json.dumps({"dicom_port": dicom, "url": url, "version": _version(url, server)}), flush=True)  # noqa: T201
            sys.stdin.read()
        finally:
            server.terminate()
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _version(url: str, server: subprocess.Popen[bytes]) -> str:
    """Wait until it answers."""
    end = time.monotonic() + _LONGEST_START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/system", timeout=5) as answer:
                return str(json.load(answer)["Version"])
        except OSError:
            time.sleep(0.1)
    raise SystemExit("Orthanc does not answer")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [socket_.getsockname()[1] for socket_ in sockets]
    for socket_ in sockets:
        socket_.close()
    return ports


if __name__ == "__main__":
    main(Path(sys.argv[1]))
