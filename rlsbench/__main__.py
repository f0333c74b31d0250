"""`python -m rlsbench`: the command line."""

from rlsbench.cli import main

if __name__ == "__main__":
    main()
