"""Series of a service and of a machine, written as promtool takes them, and promtool itself."""

import subprocess

import yaml

OK = 'handler="/v1/chat/completions",method="POST",status="2xx"'
FAILED = 'handler="/v1/chat/completions",method="POST",status="5xx"'
HOUR = 60  # in samples
DAY = 24 * HOUR


def steady(step, times=3 * HOUR, start=0):
    """A counter that grows by `step` a minute."""
    return f"{start}+{step}x{times}"


def then(*parts):
    """Counters one after the other, each going on where the one before ended: (step, minutes)."""
    words, value = [], 0
    for step, minutes in parts:
        words.append(f"{value}+{step}x{minutes}")
        value += step * (minutes + 1)
    return " ".join(words)


def flat(value, times=3 * HOUR):
    return f"{value}x{times}"


def labelled(name, own='service="chat",instance="10.0.0.1:8000"'):
    """A series with the labels that a scrape adds."""
    if "instance=" in name:  # another replica
        own = own.split(",")[0]
    return f"{name[:-1]},{own}}}" if name.endswith("}") else f"{name}{{{own}}}"


def case(series, expected, labels="alertname, severity"):
    """One test of promtool's: at each time, the alerts that fire, and no other."""
    firing = f"count by ({labels}) (ALERTS{{alertstate='firing'}})"

    def sample(alert, count):
        told = zip(labels.split(", "), alert, strict=True)
        return {"labels": "{" + ",".join(f'{k}="{v}"' for k, v in told) + "}", "value": count}

    return {
        "interval": "1m",
        "input_series": [{"series": n, "values": v} for n, v in series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{minute}m",
                "exp_samples": [sample(a, alerts.count(a)) for a in dict.fromkeys(alerts)],
            }
            for minute, alerts in expected.items()
        ],
    }


def written(folder, *groups):
    """Rule files of these groups."""
    files = [folder / f"rules{number}.yaml" for number, _ in enumerate(groups)]
    for file, listed in zip(files, groups, strict=True):
        file.write_text(yaml.safe_dump({"groups": listed}))
    return files


def promtool(*words):
    return subprocess.run(
        ["promtool", *map(str, words)], capture_output=True, text=True, timeout=120
    )


def holds(folder, files, test, every="2m"):
    """Fails where promtool finds other alerts than a test says."""
    file = folder / "test.yaml"
    document = {
        "rule_files": [str(file) for file in files],
        "evaluation_interval": every,
        "tests": [test],
    }
    file.write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def sparse(series, expected, labels="alertname, severity"):
    """As `case`, with a sample every four minutes: these are told by days."""
    return case(series, expected, labels) | {"interval": "4m"}
