"""Names that become paths: which ones are refused, and how to make a file name of any text.

Plans, tables, packages and models of nnU-Net may come from a stranger, and files and folders are named after what they
say (configurations, cases, structures). Every such name passes through this module before it becomes part of a path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath

_LONGEST_BYTES = 180
"""File systems allow 255 bytes; a temporary prefix, a hash and suffixes are added to a name."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE | re.DOTALL)
"""Names of devices on Windows, with any suffix (Microsoft, "Naming Files, Paths, and Namespaces")."""
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_FILE_NAMES = re.compile(r"[^\w.+-]+")


def name_problem(name: str) -> str | None:
    """Return why a name cannot be that of a file or folder on every system, as a phrase; None if it can.

    Args:
        name: a single name, without folders.

    >>> name_problem("3d_fullres"), name_problem("../../x"), name_problem("")
    (None, 'starts with a dot', 'is empty')
    >>> name_problem("a/b"), name_problem("nul.txt")
    ("holds '/'", 'is reserved by Windows')
    """
    if not name:
        return "is empty"
    if name.startswith("."):  # also `.` and `..`; other names would be hidden files, which medseg does not look at
        return "starts with a dot"
    for separator in "/\\":
        if separator in name:
            return f"holds {separator!r}"
    if _CONTROL.search(name):
        return "holds a control character"
    if _DRIVE.match(name):
        return "starts with a drive"
    if name[-1] in ". ":  # Windows drops them, so that two names would be one file
        return "ends with a dot or a space"
    if _RESERVED.fullmatch(name):
        return "is reserved by Windows"
    if len(name.encode("utf-8", "surrogatepass")) > _LONGEST_BYTES:
        return f"is longer than {_LONGEST_BYTES} bytes"
    return None


def shown_name(name: str) -> str:
    """Return a name in quotes for a message, cut if it is long.

    >>> shown_name("a/b"), shown_name("x" * 100)[-6:]
    ("'a/b'", 'xxx...')
    """
    return repr(name) if len(name) <= 80 else f"{name[:80]!r}"[:-1] + "..."


def check_name(name: str, what: str) -> str:
    """Return a name that can be that of a file or folder.

    Args:
        name: a single name, without folders.
        what: what is called so, for the message: "fold".

    Raises:
        ValueError: the name cannot be that of a file or folder; the message says why.
    """
    problem = name_problem(name)
    if problem:
        raise ValueError(
            f"{shown_name(name)} cannot be the name of a {what}, because files are named after it: it {problem}"
        )
    return name


def relative_path_problem(path: str) -> str | None:
    r"""Return why a path from a file could lead out of the folder that it is put into, as a phrase; None if it cannot.

    Args:
        path: as a zip member or a record names a file, with `/` between folders.

    >>> relative_path_problem("fold_0/plan.yaml"), relative_path_problem("a/../../x")
    (None, 'leads out of its folder')
    >>> relative_path_problem("C:/x"), relative_path_problem(r"\\server\x")
    ('is not a relative path', 'is not a relative path')
    """
    if not path or path.startswith("/") or "\\" in path or "\0" in path or PureWindowsPath(path).drive:
        return "is not a relative path"
    return "leads out of its folder" if ".." in PurePosixPath(path).parts else None


def file_name_for(text: str) -> str:
    """Return a name for files, made of any text: what file names cannot hold becomes `_`.

    >>> file_name_for("left kidney"), file_name_for("../x"), file_name_for("CON")
    ('left_kidney', '_.._x', 'CON_')
    """
    name = _NOT_IN_FILE_NAMES.sub("_", text)
    while len(name.encode()) > _LONGEST_BYTES:
        name = name[: len(name) * _LONGEST_BYTES // len(name.encode())]
    if not name or name.startswith("."):
        name = f"_{name}"
    if _RESERVED.fullmatch(name):
        stem, dot, suffix = name.partition(".")
        name = f"{stem}_{dot}{suffix}"
    return name + "_" if name.endswith(".") else name


def declared_path(name: str, *roots: Path, exists: Callable[[Path], bool] = Path.exists) -> Path:
    r"""Return the file that a list, or the header of another file, names.

    Files that were written on Windows separate folders by backslashes. A backslash may also be part of a file's name,
    so that the name is first looked for as it stands.

    Args:
        name: the name that was declared, relative to one of the folders, or absolute.
        roots: the folders that it may start from.
        exists: whether a path names something that is there.

    Returns:
        The first path at which there is something; else the path in the first folder, with slashes.

    >>> declared_path("labelsTr\\a.nii.gz", Path("data")).as_posix()
    'data/labelsTr/a.nii.gz'
    """
    spellings = dict.fromkeys((name, name.replace("\\", "/")))
    candidates = [root / spelling for spelling in spellings for root in roots]
    return next((path for path in candidates if exists(path)), roots[0] / [*spellings][-1])


def expanded_path(name: str, folder: Path) -> Path:
    """Return the file that a list of another program names, as `declared_path`; variables of the environment count.

    Args:
        name: as it stands in the list, such as `$DATA/imagesTr/a.nii.gz`.
        folder: the folder of the list.
    """
    return declared_path(os.path.expandvars(name), folder)


def declared_beside(name: str, folder: Path) -> Path:
    r"""Return the file that another file in the same folder names, such as the voxels of a header.

    An absolute name may be of another computer: the file is then the one of that name in the folder itself.

    Args:
        name: the name that was declared.
        folder: the folder of the file that declares it.

    >>> declared_beside("C:\\data\\a.raw", Path("scans")).as_posix()
    'scans/a.raw'
    """
    path = declared_path(name, folder)
    is_absolute = PureWindowsPath(name).is_absolute() or PurePosixPath(name).is_absolute()
    return folder / PureWindowsPath(name).name if is_absolute and not path.exists() else path
