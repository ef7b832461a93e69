"""``python -m tgvc_bench.gpu``: the command ``tgvc bench gpu`` on machines where tgvc is not installed."""

from tgvc_bench.command import bench_gpu

bench_gpu(prog_name="python -m tgvc_bench.gpu")
