"""``python -m tgvc_bench.gpu``: the command ``tgvc bench gpu`` on machines where tgvc is not installed."""

import sys

from tgvc_bench.command import bench

bench.main(["gpu", *sys.argv[1:]], prog_name="tgvc bench")
