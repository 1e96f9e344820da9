"""Where case-by-case work is done: by threads of this process, or by the processes of a Dask cluster."""
