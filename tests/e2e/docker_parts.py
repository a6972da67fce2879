"""Parts for the tests on a real Docker engine: a shell for deployctl, and eyes for what is left."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

IMAGE = "deployctl/vllm-cpu:0.32.0"
START_SECONDS = 420  # of an engine on two busy cores; compiling is left out with --enforce-eager


class Cli:
    """deployctl as a user runs it, with a state folder of its own."""

    patience_s = START_SECONDS

    def __init__(self, state):
        self.state = state
        self.environment = {**os.environ, "DEPLOYCTL_STATE_DIR": str(state), "NO_COLOR": "1"}

    def __call__(self, *words, code=0, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "deployctl", *map(str, words)],
            capture_output=True,
            text=True,
            env={**self.environment, **environment},
            timeout=self.patience_s,
        )
        assert code in (None, done.returncode), f"{words}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def begin(self, *words):
        """The same, and does not wait for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "deployctl", *map(str, words)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def json(self, *words, **options):
        """The document of a verb that answers; of several services, the first one's."""
        document = json.loads(self(*words, "--output", "json", **options).stdout)
        return document["services"][0] if "services" in document else document

    def status(self, service):
        """What status says; its exit code is 0 only where the service serves or is down."""
        done = self("status", service, "--output", "json", code=None)
        return json.loads(done.stdout)["services"][0]


def docker(*words, check=True, **environment):
    done = subprocess.run(
        ["docker", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        env={**os.environ, **environment},
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def inspect(container):
    return json.loads(docker("inspect", container))[0]


def left(service):
    """What is left of a service on the engine, by kind."""
    label = f"label=com.docker.compose.project=deployctl-{service}"
    return {
        "containers": docker("ps", "--all", "--quiet", "--filter", label).split(),
        "networks": docker("network", "ls", "--quiet", "--filter", label).split(),
        "volumes": sorted(docker("volume", "ls", "--quiet", "--filter", label).split()),
    }


def sweep(service):
    """Removes whatever a failed test left, so that it fails alone."""
    found = left(service)
    if found["containers"]:
        docker("rm", "--force", "--volumes", *found["containers"], check=False)
    for kind in ("network", "volume"):
        if found[f"{kind}s"]:
            docker(kind, "rm", *found[f"{kind}s"], check=False)
    numbers = ["", "-b", "-1", "-2"]  # of an only one, and of replicas
    mounted = [f"deployctl-{service}_{what}{n}" for what in ("secrets", "door") for n in numbers]
    docker("volume", "rm", "--force", *mounted, check=False)
    forget(service)


GATEWAY, GATEWAY_FILES = "deployctl_gateway", "deployctl_gateway_files"


def sweep_gateway():
    """Removes the gateway, and all that it keeps."""
    label = f"label=com.docker.compose.project={GATEWAY}"
    for each in (*docker("ps", "--all", "--quiet", "--filter", label).split(), GATEWAY_FILES):
        docker("rm", "--force", each, check=False)
    for each in docker("network", "ls", "--quiet", "--filter", label).split():
        docker("network", "rm", each, check=False)
    docker("volume", "rm", "--force", GATEWAY_FILES, check=False)
    docker("rm", "--force", "deployctl-host_gatewaylock", check=False)


def forget(*services):
    """Removes what the engine has on record of services, their keys, and their locks."""
    for service in services:
        kept = [f"deployctl-{service}_{what}" for what in ("records", "keys")]
        docker("rm", "--force", *kept, f"deployctl-{service}_lock", check=False)
        docker("volume", "rm", "--force", *kept, check=False)


def call(url, body=None, key=None):
    """Status and document of a request."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, None


def opens(url, token):
    """Status of a page of text, such as metrics."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=START_SECONDS) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def complete(url, model, prompt="The capital of France is", key=None):
    body = {"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0}
    return call(f"{url}/completions", body, key)


def until(condition, *, seconds, what):
    """Waits for a real part to get somewhere."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {what}")
