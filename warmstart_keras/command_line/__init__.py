"""Command line of the package: the commands `inspect`, `diff` and `remap`."""

from warmstart_keras.command_line.main import main
