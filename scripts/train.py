"""The same as `bregbench train`."""

from bregbench.cli.train import main

if __name__ == "__main__":
    main()
