"""DICOM in: `elements` (files, values, the types of a listing), `geometry`, `listing`, `pixels`, `labels`.

Each room imports only those named before it. `elements.paths`, `elements.files` and `elements.options` are loaded for
every data set; all else is imported where a path means DICOM.
"""
