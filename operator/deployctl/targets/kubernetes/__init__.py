"""The target `kubernetes`: a release of deployctl is a release of Helm, made from the chart.

`driver` is the way in, `survey` for what is asked of all services at once. Both ask by `cluster`,
the API server, by the `api` to which `connection` leads (`kubeconfig`, `identity`). In the
namespace are records (`shelf`), locks (`lease`), keys (`secret`) and the Helm release
(`helmrelease`). `progress`, `nodes` and `cards` judge what was read, and are pure; `devices` looks
at cards that are claimed, `held` at what a change would change. `pull` brings images to nodes,
`checkpoint` a folder to a claim, `load` a load test to pods of its own, `forward` a port to this
machine (all by port-forwards: `frames`, `podstream`), `logs` lines. `jobs` tells what a Job of ours
waits for.

Nothing is imported here: records and a look at all services need no driver.
"""
