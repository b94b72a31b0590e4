"""The same as `bregbench reproduce`."""

from bregbench.cli.reproduce import main

if __name__ == "__main__":
    main()
