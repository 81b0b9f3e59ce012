"""`python -m orchestrator` is the `kgtts` command."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
