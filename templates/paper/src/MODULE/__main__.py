"""Entry point of the `{{NAME}}` command and of `python -m MODULE`."""

from MODULE._common.cli import start


def main() -> None:
    """Run the command line."""
    start("MODULE.cli")


if __name__ == "__main__":
    main()
