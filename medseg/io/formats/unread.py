"""Know scans in formats that medseg does not read, by the names of their files.

They must not be passed over in silence. Everything else in a folder that is no image here (notes, tables, transforms,
meshes, programs) says something of a scan and is none.
"""

from __future__ import annotations

from pathlib import Path

from medseg.io.dicom.elements.files import SUFFIXES as DICOM_SUFFIXES
from medseg.io.formats.table import FORMATS

_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_VOLUMES = (
    *(".head", ".brik", ".mif", ".mih", ".vff", ".vti"),
    *(".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vsi", ".czi", ".lif", ".nd2", ".lsm", ".oib", ".oif", ".zvi"),
)
"""AFNI, MRtrix and VTK; slide scanners and microscopes."""
_OTHER_FORMATS = (
    *_VOLUMES,
    *(".v", ".am", ".img", ".img.gz", ".raw", ".h5", ".hdf5", ".npy", ".npz", ".zarr", ".n5"),
    *(".bif", ".ims", ".dv", ".stk"),
    *(".webp", ".jp2", ".j2k", ".jpx", ".jxl", ".jpe", ".jfif", ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm"),
    *(".pnm", ".tga", ".psd", ".exr", ".dng", ".avi", ".mp4", ".mov", ".mkv", ".wmv"),
)
"""Further ones whose names may also be those of something else: ECAT, Amira, arrays; photographs and videos."""
_SIDE_FILES = (
    *(".json", ".jsonl", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".toml", ".xml", ".bval", ".bvec", ".ini", ".cfg"),
    *(".md", ".rst", ".cff", ".html", ".htm", ".pdf", ".doc", ".docx", ".xlsx", ".xls", ".log", ".pkl", ".mat", ".tfm"),
    *(
        ".py",
        ".ipynb",
        ".sh",
        ".bat",
        ".m",
        ".r",
        ".js",
        ".css",
        ".db",
        ".md5",
        ".sha256",
        ".gitignore",
        ".stl",
        ".ply",
    ),
)
_SIDE_NAMES = frozenset(
    ("readme", "license", "licence", "copying", "changes", "changelog", "citation", "authors", "makefile", "version")
)


def unread_suffix(path: Path) -> str:
    """Return the end of a file's name that says a format of scans which medseg does not read; else nothing.

    >>> unread_suffix(Path("p7.nii.bz2")), unread_suffix(Path("p7.WEBP")), unread_suffix(Path("p7.nii.gz"))
    ('.nii.bz2', '.webp', '')
    >>> unread_suffix(Path("README.md")), unread_suffix(Path("scores.csv.gz"))
    ('', '')
    """
    name = path.name.lower()
    # formats of one's own may have been registered since
    if any(name.endswith(suffix) for suffix in FORMATS if suffix not in _OTHER_FORMATS):
        return ""
    for packed in ("", *_PACKED):
        inner = name.removesuffix(packed)
        if inner == name and packed:
            continue
        suffixes = _OTHER_FORMATS if not packed else (*FORMATS, *DICOM_SUFFIXES, *_OTHER_FORMATS)
        fitting = [suffix for suffix in suffixes if inner.endswith(suffix) and inner != suffix]
        if fitting:
            return name[len(inner) - max(map(len, fitting)) :]
    return ""


def is_unread_volume(path: Path) -> bool:
    """Return whether a name is that of a volume, a slide or DICOM in a form that medseg does not read.

    Other names that `unread_suffix` knows may be something else: a photograph, a video, an array, a picture of a disk.

    >>> is_unread_volume(Path("p7.nii.bz2")), is_unread_volume(Path("1.dcm.gz")), is_unread_volume(Path("p7.mif.gz"))
    (True, True, True)
    >>> is_unread_volume(Path("p7.webp")), is_unread_volume(Path("p7.png.gz")), is_unread_volume(Path("p7.nii.gz"))
    (False, False, False)
    >>> is_unread_volume(Path("system.img"))
    False
    """
    suffix = unread_suffix(path)
    inner = next((suffix.removesuffix(packed) for packed in _PACKED if suffix.endswith(packed)), suffix)
    volumes = (*_VOLUMES, *DICOM_SUFFIXES)
    packed = inner != suffix and suffix not in _OTHER_FORMATS  # .img may be a disk, and .img.gz one that is packed
    return inner in volumes or suffix in volumes or (packed and inner in FORMATS and FORMATS[inner].sides_known)


def is_side_file(path: Path) -> bool:
    """Return whether a name is that of a file with facts on scans, not of a scan: `README`, `participants.tsv`.

    >>> is_side_file(Path("README")), is_side_file(Path("p7.json")), is_side_file(Path("1.2.840.113619.2"))
    (True, True, False)
    """
    return path.suffix.lower() in _SIDE_FILES or path.stem.lower() in _SIDE_NAMES
