"""Run the command line: `python -m gpt2`."""

from gpt2._common.cli import start


def main() -> None:
    """Run the command line of gpt2."""
    start("gpt2.cli")


if __name__ == "__main__":
    main()
