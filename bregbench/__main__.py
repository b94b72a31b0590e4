"""`python -m bregbench`: the same as the command `bregbench`."""

from bregbench.cli.main import main

if __name__ == "__main__":
    main()
