"""`v2v plan`: memory, cost and time of a run on devices that need not be present.

    experiment + topology → programs.py → compile.py → report.py        search.py tries the next setting when one does not fit

chips.py     memory, peak rate and links of each chip; the devices of a topology, none of them attached
programs.py  the train step and the sampler, with shapes and shardings in place of arrays
traffic.py   bytes that a chip sends, from the compiled text
compile.py   ahead-of-time compilation and the compiler's report of memory
passes.py    operations of one pass of the transformer

edit_programs.py lowers what an edit runs, with the arguments that it passes; gpus.py describes NVIDIA GPUs to compile for.
"""
