"""Command line: `python -m attention_numpy`."""

from attention_numpy._common.cli import start


def main() -> None:
    """Run the command line."""
    start("attention_numpy.cli")


if __name__ == "__main__":
    main()
