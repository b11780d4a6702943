"""Whether a sentence names something that can be seen: one that doesn't can neither be learnt nor checked."""

from __future__ import annotations

import re

# Words that by themselves name neither an object nor a look: articles and the like, verbs of doing, praise, the clip as such.
INVISIBLE_WORDS = frozenset(
    "a an the this that these those it its them they he she i me my you your we us our some any all every each and or but so if "
    "as at by for from in into of on onto off out over to up with without again also too just only very more less much many "
    "please now then here there is are be was were do does did done have has can could should would will must let lets want "
    "need needs like make makes made turn change changes alter edit edits modify adjust apply use give get go put set try work "
    "fix improve enhance update process perform create generate render produce transform convert different other another new "
    "same better best good nice nicer great cool perfect amazing beautiful interesting way something anything everything "
    "nothing thing things stuff part bit one what which how video clip footage movie film image picture frame frames scene shot "
    "content output result version instruction source target not no yes".split()
)


def names_something(sentence: str) -> bool:
    """Return whether a sentence has a word beside those that name neither an object nor a look."""
    return bool(set(re.findall(r"[^\W\d_]+", sentence.lower())) - INVISIBLE_WORDS)
