"""Where things run and are kept: storage, artifacts, Ray and Dask clusters, logging."""
