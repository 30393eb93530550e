"""Run the command line: `python -m lets_build_gpt`, or the console script `lets-build-gpt`."""

from lets_build_gpt._common.cli import start


def main() -> None:
    """Run the command line."""
    start("lets_build_gpt.cli")


if __name__ == "__main__":
    main()
