"""``python -m interpose_sfm``."""

import sys

from interpose_sfm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
