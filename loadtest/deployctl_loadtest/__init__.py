"""The Locust side: users, prompts, raw samples, result types. Imports no deployctl.

Only `locustfile` and `exchange` import Locust, which patches the standard library as it
is imported: whoever reads results must be able to leave it alone.
"""
