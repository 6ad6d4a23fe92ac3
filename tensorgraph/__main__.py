"""``python -m tensorgraph``: the command ``tensorgraph`` where its script is not on the path."""

from tensorgraph.commands.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
