"""Entry point of `python -m warmstart_keras`; see `warmstart_keras.command_line`."""

import sys

from warmstart_keras.command_line import main

if __name__ == "__main__":
    sys.exit(main())
