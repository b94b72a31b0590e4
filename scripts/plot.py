"""The same as `bregbench plot`."""

from bregbench.cli.plot import main

if __name__ == "__main__":
    main()
