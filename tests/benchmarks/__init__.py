"""Speed and memory beside peers; nothing is asserted. `python -m tests.benchmarks`, or `make bench`."""
