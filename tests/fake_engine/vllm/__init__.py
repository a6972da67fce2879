"""A fake engine under vLLM's name, for outages that cannot be had on demand from the real one.

Put this folder's parent on PYTHONPATH. What it does is said by environment variables
(`spec.env`); by default it loads at once and answers, behind whatever --middleware names:

    FAKE_ENGINE_DIE_LOADING=CODE   writes an error and exits with CODE while loading
    FAKE_ENGINE_SILENT=1           loads for ever, never listens
    FAKE_ENGINE_LOADING_S=S        seconds until it listens
    FAKE_ENGINE_HOLD=PATH          loads until there is such a file
    FAKE_ENGINE_CHILDREN=1         starts a child and an orphaned grandchild, as workers are
    FAKE_ENGINE_DEAF=1             ignores SIGTERM, and so do its children
    FAKE_ENGINE_CHATTER=BYTES      writes that many bytes of log before it listens
    FAKE_ENGINE_TOKEN_S=S          seconds a token of a streamed answer; --max-num-seqs at once
    FAKE_ENGINE_KEEPS=1            keeps connections, as vLLM does, and not one a request
    FAKE_ENGINE_TOOLS=WHAT         tool calls: text: its parser reads nothing; twice: in a stream
    FAKE_ENGINE_DIE_AFTER=N        dies when it has begun N streamed answers
"""
