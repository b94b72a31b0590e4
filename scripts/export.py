"""The same as `bregbench export`."""

from bregbench.cli.export import main

if __name__ == "__main__":
    main()
