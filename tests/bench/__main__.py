"""All benchmarks at their default sizes: `python -m tests.bench` (some ten minutes on two cores)."""

from tests.bench import bench_metrics, bench_search

if __name__ == "__main__":
    bench_metrics.main([])
    bench_search.main([])
