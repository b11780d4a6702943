"""`v2v plan`: does it fit, what does it cost, before any accelerator is rented.

  experiment + topology → programs.py → compile.py → report.py        search.py asks for the next setting when it doesn't fit
chips.py     the chips: memory, peak rate, links; a topology's name → its devices, none of them attached
programs.py  the very train step and sampler, with shapes and shardings in place of arrays
traffic.py   bytes a chip sends, from the compiled text
compile.py   ahead-of-time compilation and what the compiler says of memory
"""
