"""The command line: one module a verb. The only place that prints or exits.

Verbs share `console` (what is printed), `options` (made from models), and, to show what goes on,
`rolloutprogress` and `loadprogress`; `app` puts them together.
"""
