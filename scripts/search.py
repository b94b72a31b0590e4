"""The same as `bregbench search`."""

from bregbench.cli.search import main

if __name__ == "__main__":
    main()
