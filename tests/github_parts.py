"""A stranger's repository whose workflows act runs on this machine, without images.

What is not ours is a stand-in: checkout copies the folder that stands for a repository, the
artefact actions copy to a folder, and GitHub's API is a fake. deployctl is that of the tests,
as on a runner that has its own; `install` has it installed by its lock, from the index that pip is
set to.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fake_github import TOKEN
from known import tiny_folder
from process_parts import PYTHONPATH

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 900
OURS = "stranger/deployctl"
_OF_OURS = (".github", "operator", "loadtest", "charts", "deploy", "docker", "requirements")
_STANDS_IN = {
    "actions/setup-python": ("true", {}),
    "actions/cache": ('mkdir -p "$DOWNLOADS" && ln -sfn "$DOWNLOADS" "$AT"', {"AT": "path"}),
    "github/codeql-action/upload-sarif": (
        'cp "$SARIF" "$STORE/uploaded.sarif"',
        {"SARIF": "sarif_file"},
    ),
    "actions/upload-artifact": (
        'if [ -e "$FROM" ]; then mkdir -p "$STORE/$NAME" && cp -r "$FROM/." "$STORE/$NAME/"; fi',
        {"FROM": "path", "NAME": "name"},
    ),
    "actions/download-artifact": (
        'mkdir -p "$TO" && if [ -n "$NAME" ]; then cp -r "$STORE/$NAME/." "$TO/"; '
        'else cp -r "$STORE"/$PATTERN "$TO/"; fi',
        {"TO": "path", "NAME": "name", "PATTERN": "pattern"},
    ),
    "actions/checkout": (
        'mkdir -p "${TO:-.}" && cp -r "$REPOSITORIES/${WHOSE:-base}/." "${TO:-.}/"',
        {"TO": "path", "WHOSE": "repository"},
    ),
}


def _stand_in(folder, script, inputs):
    """An action in place of somebody else's: a line of shell."""
    folder.mkdir(parents=True)
    env = {name: f"${{{{ inputs.{given} }}}}" for name, given in inputs.items()}
    action = {
        "name": "stand-in",
        "description": "stands in",
        "inputs": {given: {"default": ""} for given in inputs.values()},
        "runs": {"using": "composite", "steps": [{"shell": "bash", "run": script, "env": env}]},
    }
    (folder / "action.yml").write_text(json.dumps(action))


class Stranger:
    """The repository, what stands around it, and runs of its workflows."""

    def __init__(self, folder, act, *, install=False, engine=PYTHONPATH):
        self.folder, self.act, self._engine = folder, act, engine
        self.work, self.store, self.state = folder / "work", folder / "store", folder / "state"
        self._repositories, self._install = folder / "repositories", install
        for made in (self.store, self._repositories / "base", self.work / ".github/workflows"):
            made.mkdir(parents=True)
        self._copy_ours()
        self._locals = [*self._stand_ins(), "--local-repository", f"{OURS}@v1={self._ours}"]
        tiny_folder(self.work / "tiny")
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "x"]):
            user = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
            subprocess.run(["git", *user, *words], cwd=self.work, check=True)

    def _copy_ours(self):
        self._ours = self._repositories / OURS
        tracked = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        wanted = (*_OF_OURS, "pyproject", "README", "LICENSE") if self._install else (".github",)
        for name in filter(None, tracked.stdout.split("\0")):
            if name.startswith(wanted) and (ROOT / name).exists():
                (self._ours / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self._ours / name)
        # act looks for `./` of a called workflow at the caller's, GitHub at the called one's.
        services = self._ours / ".github/workflows/services.yml"
        text = services.read_text().replace("uses: ./.github/", f"uses: {OURS}/.github/")
        services.write_text(re.sub(r"(uses: \S+\.yml)\n", r"\1@v1\n", text))
        if not self._install:
            for file in (self._ours / ".github").rglob("*.yml"):
                text = file.read_text().replace(
                    'default: ""\noutputs', f"default: {sys.prefix}\noutputs"
                )
                text = text.replace("{{ inputs.installed }}", f"{{{{ '{sys.prefix}' }}}}")
                file.write_text(text)

    def _stand_ins(self):
        text = "".join(file.read_text() for file in (ROOT / ".github").rglob("*.yml"))
        for name, (script, inputs) in _STANDS_IN.items():
            repository = "/".join(name.split("/")[:2])
            folder = self.folder / "actions" / repository.replace("/", "-")
            _stand_in(folder / name.removeprefix(repository).strip("/"), script, inputs)
            for ref in sorted(set(re.findall(rf"{re.escape(name)}@([0-9a-f]{{40}})", text))):
                yield from ("--local-repository", f"{repository}@{ref}={folder}")

    def calls(self, text):
        """What the repository's only workflow says."""
        (self.work / ".github/workflows/services.yml").write_text(text)

    def base(self, spec):
        """What the base branch of a pull request has."""
        (self._repositories / "base" / "service.yaml").write_text(spec)

    def run(self, spec, github, event="pull_request", *, fork=False, run=1, **more):
        """Runs the workflow as of an event, with this spec; what it leaves, `github` knows then.
        `more`: what the event tells besides."""
        (self.work / "service.yaml").write_text(spec)
        repository = github.repository
        told = {"repository": {"default_branch": "main", "full_name": repository}, **more}
        if event == "pull_request":
            head = {"repo": {"full_name": "fork/app" if fork else repository}}
            told["pull_request"] = {"number": 7, "head": head, "base": {"sha": "b" * 40}}
        else:
            told["ref"] = "refs/heads/main"
        (self.folder / "event.json").write_text(json.dumps(told))
        words = [self.act, event, "-P", "ubuntu-24.04=-self-hosted", "-P", "gpu=-self-hosted"]
        words += ["-e", str(self.folder / "event.json"), *self._locals]
        words += ["-s", f"GITHUB_TOKEN={TOKEN}"]
        given = {
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": repository,
            "REPOSITORIES": str(self._repositories),
            "STORE": str(self.store),
            "DOWNLOADS": str(self.folder.parent / "downloads"),
            "DEPLOYCTL_STATE_DIR": str(self.state),
            "DEPLOYCTL_CACHE_DIR": str(self.folder / "cache"),
        }
        if not self._install:
            given["PYTHONPATH"] = os.pathsep.join(
                filter(None, [self._engine, str(ROOT / "operator"), str(ROOT / "loadtest")])
            )
        for name, value in given.items():
            words += ["--env", f"{name}={value}"]
        env = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "act"), "HOME": str(self.folder)}
        before = {file.name for file in self.store.iterdir()}
        ended = subprocess.run(
            words, cwd=self.work, env=env, capture_output=True, text=True, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip
        self._leave(github, before, run, ended.returncode)
        return ended

    def _leave(self, github, before, run, code):
        for left in sorted(self.store.glob("deployctl-gate-*")):
            files = {f.name: f.read_text() for f in left.iterdir() if f.suffix != ".html"}
            if left.name not in before or run > 1:
                how = "success" if code == 0 else "failure"
                github.add_artifact(left.name, files, run, conclusion=how)


@pytest.fixture(scope="session")
def act():
    """The program; a test without it is skipped."""
    found = subprocess.run([ROOT / "scripts" / "tool", "act"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("act is not here")
    return found.stdout.strip()
