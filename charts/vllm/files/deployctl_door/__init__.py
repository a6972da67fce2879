"""The door before an engine: it denies every route that is not listed, and everybody without a key.

Plain ASGI on the standard library of Python 3.10 and newer, so that it runs in any engine's image:
`Door(app, configuration)` wraps the engine's application. `vllm` is what its --middleware names.
"""
