"""Run the command line: `python -m bpe`."""

from bpe._common.cli import start


def main() -> None:
    """Start the command line."""
    start("bpe.cli")


if __name__ == "__main__":
    main()
