"""Prompts of plain words: an approximate length in tokens, and never the same twice.

A common English word with its space is one token in most vocabularies. What the server
counted is in the results; the length asked for is only a target.
"""

import random

_TEXT = """
time year people way day man thing woman life child world school state family student group
country problem hand part place case week company system program question work government number
night point home water room mother area money story fact month lot right study book eye job word
business issue side kind head house service friend father power hour game line end member law car
city community name president team minute idea body information back parent face others level
office door health person art war history party result change morning reason research girl guy
moment air teacher force education foot boy age policy music market sense nation plan college
interest death experience effect use class control field development role effort rate heart drug
show leader light voice wife police mind price report decision son view relationship town road arm
difference value building action season society tax director position player record paper space
ground form event official matter center couple site project activity star table need court oil
situation cost industry figure street image phone data picture practice piece land product doctor
wall patient worker news test movie north love support technology step baby computer type
attention film tree source red nothing seven green blue early young small large next great high
old long little own other new good
"""
_WORDS = tuple(_TEXT.split())

# What a chat template adds around one user message, about: role markers, default system prompt.
CHAT_TEMPLATE_TOKENS = 20


def prompt(tokens: int, seed: str) -> str:
    """Returns about `tokens` tokens of words; the same seed gives the same words."""
    chosen = random.Random(seed).choices(_WORDS, k=max(1, tokens))  # noqa: S311 - no secret
    return " ".join(chosen)
