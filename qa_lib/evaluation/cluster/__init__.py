"""Candidates measured by the workers of a Dask cluster, in place of threads."""
