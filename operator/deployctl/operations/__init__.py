"""What deployctl does, for the command line and any program.

Typed requests in, typed results out, events on the way; nothing here prints or exits. What a
program uses, as docs/guides/python.md shows:

    from deployctl.operations.bundle import render, write
    from deployctl.operations.connect import connect
    from deployctl.operations.deploy.deployment import Deployment, down, rollback, up
    from deployctl.operations.deploy.differences import diff
    from deployctl.operations.deploy.request import VerificationRequest
    from deployctl.operations.deploy.services import history, logs, status
    from deployctl.operations.fetch import fetch, fetch_to
    from deployctl.operations.keys.manage import add_key, list_keys, revoke_key
    from deployctl.operations.keys.request import KeyRequest
    from deployctl.operations.measure.loadtest import load_test
    from deployctl.operations.measure.request import GateRequest, LoadRequest
    from deployctl.operations.prepare import prepare
"""
