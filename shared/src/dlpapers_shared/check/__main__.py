"""Entry point of `python -m dlpapers_shared.check`."""

from dlpapers_shared._common.cli import start

if __name__ == "__main__":
    start("dlpapers_shared.check.cli")
