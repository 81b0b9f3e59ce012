"""What several ranks change: shares of the samples, bytes a step, seconds, and the learning rate.

    python -m benchmarks.scaling sharding                # who gets which samples: 1 to 16 ranks, counted
    python -m benchmarks.scaling sync                    # bytes of a step, by formula and on the wire
    python -m benchmarks.scaling time --rounds 5         # one rank, two, and two that average nothing
    python -m benchmarks.scaling rate --folder FOLDER    # wider batches at several learning rates; resumable
    python -m benchmarks.scaling calculated              # epochs on GPUs and nodes that we do not have

All run on the CPU, from the repository, in an environment with the extra `local`. docs/scaling.md says what
follows for a user.
"""
