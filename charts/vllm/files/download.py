"""Fetches the model into the shared cache once, or waits until that is done.

Another Job for the same model, as one of a new image is, finds the mark and asks nobody.

python3 download.py fetch|wait MODEL REVISION MARK
"""

import os
import sys
import time

WHERE = os.path.join(os.environ.get("HF_HOME", "/cache/hub"), ".deployctl")


def fetch(model, revision, mark):
    """Downloads the whole repository, then leaves a mark that says so; nothing where it is."""
    if os.path.exists(os.path.join(WHERE, mark)):
        print(f"{model} is there already", flush=True)
        return
    from huggingface_hub import snapshot_download

    token = None
    path = os.environ.get("HF_TOKEN_PATH", "")
    if os.path.isfile(path):
        with open(path) as file:
            token = file.read().strip() or None
    snapshot_download(model, revision=revision or None, token=token)
    os.makedirs(WHERE, exist_ok=True)
    with open(os.path.join(WHERE, mark), "w") as file:
        file.write(model)


def wait(model, mark):
    """Returns when the mark is there; the pod stays in Init until then."""
    while not os.path.exists(os.path.join(WHERE, mark)):
        print(f"waiting for the download of {model}", flush=True)
        time.sleep(5)


if __name__ == "__main__":
    verb, model, revision, mark = sys.argv[1:5]
    if verb == "fetch":
        fetch(model, revision, mark)
    else:
        wait(model, mark)
