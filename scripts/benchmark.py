"""The same as `python -m bregbench.benchmark`."""

import sys

from bregbench.benchmark.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
