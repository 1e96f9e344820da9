"""Pages as headless Chromium shows them: their HTML once scripts have run, screenshots, what they measure."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
SCHEMES = {"light": 1, "dark": 0}  # of Chromium's setting preferredColorScheme
_QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
_NO_GRAPHICS = ("--disable-gpu",)


def chromium(page: Path, folder: Path, *options: str, graphics: tuple[str, ...] = _NO_GRAPHICS) -> bytes:
    """Open a page headless, with a profile of its own and without background connections; return what is printed."""
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", f"--user-data-dir={folder / 'profile'}", *_QUIET]
    command += [*graphics, *options, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, timeout=240).stdout


def dump(page: Path, folder: Path, *options: str, graphics: tuple[str, ...] = _NO_GRAPHICS) -> str:
    """Return the HTML of a page once its script has run."""
    return chromium(page, folder, *options, "--dump-dom", graphics=graphics).decode()


def screenshot(
    page: Path, folder: Path, width: int, height: int, scheme: str, graphics: tuple[str, ...] = _NO_GRAPHICS
) -> NDArray[np.floating]:
    """Return the pixels of a page (y, x, colour), 0 to 255, once its script has run."""
    picture = folder / "page.png"
    size = ("--hide-scrollbars", f"--window-size={width},{height}")
    colours = f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"
    chromium(page, folder, *size, colours, f"--screenshot={picture}", graphics=graphics)
    return np.asarray((imread(picture)[..., :3] * 255).round())


def asked(page: Path, folder: Path, script: str, width: int) -> Any:
    """Return the value that a script has in a page which is so many CSS pixels wide, as JSON.

    Chromium's window cannot be as narrow as a telephone, so the page lies in a frame; a copy of it lets the script run.
    """
    copy, frame = folder / f"asked_{page.name}", folder / "frame.html"
    allowed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    answer = f"<script>parent.postMessage(JSON.stringify((() => {{ {script} }})()), '*')</script></body>"
    copy.write_text(allowed.replace("</body>", answer))
    frame.write_text(
        "<body><pre></pre><script>onmessage = (event) => { document.querySelector('pre').textContent = event.data; }"
        f'</script><iframe src="{copy.as_uri()}" style="width: {width}px; height: 2000px; border: 0"></iframe></body>'
    )
    found = re.search(r"<pre>(.*?)</pre>", dump(frame, folder, "--virtual-time-budget=10000"), re.DOTALL)
    assert found
    return json.loads(html.unescape(found[1]))
