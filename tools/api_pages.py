"""Write the API pages of v2v and data_synth from their docstrings, with pdoc: every module, and the names that `v2v` itself offers.

    python tools/api_pages.py build/api         then open build/api/index.html

pdoc alone shows neither: `v2v` imports its names when they are first used, and lists them in `__all__`, beside which pdoc looks for no
modules. Ends with exit code 1 if a module can't be imported or a name doesn't resolve.
"""

import argparse
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import v2v

# Importing it would run the command line.
COMMAND = "__main__"
# How pdoc's warnings begin that tell of something left out; the others are about types, which it then shows as they are written.
LEFT_OUT = ("Couldn't import", "Found ")


def write_pages(folder: Path) -> list[str]:
    """Write one page a module.

    Args:
      folder: where to write; created if missing.

    Returns:
      What is missing from the pages, a text each.
    """
    for name in v2v.__all__:
        setattr(v2v, name, getattr(v2v, name))
    v2v.__all__ += [module.name for module in pkgutil.iter_modules(v2v.__path__) if module.name != COMMAND]
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings(record=True) as problems:
        warnings.simplefilter("always")
        pdoc.pdoc("v2v", "data_synth", output_directory=folder)
    return [text for text in (str(problem.message) for problem in problems) if text.startswith(LEFT_OUT)]


def main() -> int:
    """Write the pages into the folder that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/api"))
    folder = parser.parse_args().folder
    problems = write_pages(folder)
    print(f"{folder / 'index.html'}: {len(list(folder.rglob('*.html')))} pages")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
