"""Many files at once: what is done is not done again, one failure stops nothing, every way to run gives the same bytes.

``runs`` says where work runs (here, in processes, on a Ray cluster), ``work`` what is done with one file, ``folder``
what of a folder is still to be done and what came of it.
"""

from tgvc.batch.folder import BatchReport, run_batch
from tgvc.batch.places import Failure, Place, Work
from tgvc.batch.runs import run_all
from tgvc.batch.work import Decoding, Encoding

__all__ = ["BatchReport", "Decoding", "Encoding", "Failure", "Place", "Work", "run_all", "run_batch"]
