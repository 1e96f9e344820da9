"""Engines for case-by-case work: threads of this process, or the processes of a Dask cluster."""
