"""Entry point of `dlpapers-data` and `python -m dlpapers_shared`."""

from dlpapers_shared._common.cli import start


def main() -> None:
    """Run the command line."""
    start("dlpapers_shared.cli")


if __name__ == "__main__":
    main()
