"""What people bring: small scripts, datasets and base voices that stand for the shapes found in public.

    python -m tests.corpus                    # all of them, on one and two ranks, two sessions each
    python -m tests.corpus --ranks 1 old_train_tts excel

It prints a table: shape, ranks, first and second session, outcome. `tests/kernel/test_corpus.py` runs a part
of it in CI.
"""
