"""``python -m tgvc.demo``."""

from tgvc.demo.command import main

if __name__ == "__main__":
    main()
