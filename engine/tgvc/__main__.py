"""``python -m tgvc`` is the command ``tgvc``."""

from tgvc.cli import main

if __name__ == "__main__":
    main()
