"""``python -m videojobs`` is the command line."""

from videojobs.cli import main

main()
