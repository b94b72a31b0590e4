"""The same as `bregbench evaluate`."""

from bregbench.cli.evaluate import main

if __name__ == "__main__":
    main()
