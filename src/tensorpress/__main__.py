"""``python -m tensorpress``."""

from tensorpress.cli import main

if __name__ == "__main__":
    main()
