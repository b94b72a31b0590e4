"""The same as `bregbench doctor`."""

from bregbench.cli.doctor import main

if __name__ == "__main__":
    main()
