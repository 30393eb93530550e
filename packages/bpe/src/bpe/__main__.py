"""Run the command line: `python -m bpe`."""

from bpe.cli import main

if __name__ == "__main__":
    main()
