"""`python -m chatward` is the command `chatward`."""

from chatward.faces.cli.main import main

main()
