"""The same as `bregbench runs`."""

from bregbench.cli.runs import main

if __name__ == "__main__":
    main()
