"""Write a scene as one HTML page: NiiVue shows volumes, a canvas shows 2D images; everything is in the file itself.

NiiVue (npm `@niivue/niivue`, BSD-2) lies beside this module as its authors publish it, with its licences.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.core.files import write_text
from medseg.core.image import Image
from medseg.delivery.viewer.scene import Scene

if TYPE_CHECKING:
    from jinja2 import Template

_NIIVUE = "niivue-0.69.0.umd.js"
_TEMPLATE = "view.html.j2"


def write_view(path: Path, scene: Scene) -> None:
    """Write the page of a scene.

    Args:
        path: the HTML file.
        scene: the scene.
    """
    write_text(path, view_page(scene))


def view_page(scene: Scene) -> str:
    """Return the page of a scene as HTML."""
    encode = _pictures if scene.flat else _volumes
    files = {name: base64.b64encode(content).decode() for name, content in encode(scene).items()}
    library = "" if scene.flat else _niivue()
    facts = json.dumps(_facts(scene)).replace("<", "\\u003c")
    return _template().render(scene=scene, files=files, library=library, facts=facts)


def _facts(scene: Scene) -> dict[str, Any]:
    """Return the data that the page's script needs."""
    return {
        "flat": scene.flat,
        "sides": scene.sides_known and scene.scan.spacing_known,
        "layers": list(scene.layers),
        "structures": [
            {"name": part.name, "colour": part.colour, "centre": part.centre_mm} for part in scene.structures
        ],
        "windows": {name: list(bounds) for name, bounds in scene.windows.items()},
    }


def _volumes(scene: Scene) -> dict[str, bytes]:
    """Return the scan and each label map as packed NIfTI."""
    files = {"scan": _nifti(scene.scan)}
    for number, layer in enumerate(scene.layers.values()):
        files[f"layer{number}"] = _nifti(scene.scan.with_array(layer[None]))
    return files


def _nifti(image: Image) -> bytes:
    """Return one channel as .nii.gz, in a type that browsers can show."""
    import nibabel as nib

    array = image.array[0]
    fits_16_bits = array.dtype.kind in "iu" and np.iinfo(np.int16).min <= array.min() and array.max() <= 32767
    if array.dtype.kind == "b" or (array.dtype.kind in "iu" and array.dtype.itemsize == 1):
        array = array.astype(np.uint8) if array.dtype != np.int8 else array.astype(np.int16)
    elif array.dtype != np.uint16:
        array = array.astype(np.int16 if fits_16_bits else np.float32)
    if array.dtype == np.float32:
        array = np.nan_to_num(array, copy=False)
    file = io.BytesIO()
    nib.Nifti1Image(array.transpose(2, 1, 0), image.affine).to_file_map({"image": nib.FileHolder(fileobj=file)})
    return gzip.compress(file.getvalue(), compresslevel=4, mtime=0)


def _pictures(scene: Scene) -> dict[str, bytes]:
    """Return a 2D image as PNG, and each label map as a PNG whose red and green are the number of the structure."""
    planes = scene.scan.array[:, 0]
    low, high = next(iter(scene.windows.values()))
    if planes.dtype != np.uint8:
        planes = (np.clip((np.nan_to_num(planes) - low) / max(high - low, 1e-12), 0, 1) * 255).round().astype(np.uint8)
    colours = np.repeat(planes[:1], 3, axis=0) if len(planes) != 3 else planes
    layers = {}
    for number, layer in enumerate(scene.layers.values()):
        plane = layer[0].astype(np.uint16)
        bytes_of = np.stack([plane & 255, plane >> 8, np.zeros_like(plane)]).astype(np.uint8)
        layers[f"layer{number}"] = _png(bytes_of)
    return {"scan": _png(colours), **layers}


def _png(colours: NDArray[np.uint8]) -> bytes:
    """Return (colour, y, x) as PNG."""
    from PIL import Image as pillow

    file = io.BytesIO()
    pillow.fromarray(np.ascontiguousarray(np.moveaxis(colours, 0, -1))).save(file, "PNG")
    return file.getvalue()


@cache
def _niivue() -> str:
    """Return NiiVue packed, which makes a page of a small scan half as large; the page's script unpacks it."""
    packed = gzip.compress(Path(__file__).with_name(_NIIVUE).read_bytes(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode("ascii")


@cache
def _template() -> Template:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(Path(__file__).with_name(_TEMPLATE).read_text(encoding="utf-8"))
