"""The package on the command line."""

from warmstart_keras.command_line.main import main
