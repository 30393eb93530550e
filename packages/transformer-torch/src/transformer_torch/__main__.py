"""Command line: `python -m transformer_torch`."""

from transformer_torch._common.cli import start


def main() -> None:
    """Run the command line."""
    start("transformer_torch.cli")


if __name__ == "__main__":
    main()
