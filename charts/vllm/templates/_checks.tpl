{{/*
What no schema can say: values that fit each by itself and not together. Every refusal says where
and how to mend it.
*/}}
{{- define "vllm.checks" -}}
{{- $v := .Values -}}
{{- $most := include "vllm.mostReplicas" . | int -}}
{{- $mode := include "vllm.cache.accessMode" . -}}
{{- if not (or (contains "@sha256:" $v.engine.image) (regexMatch ":[^/]+$" $v.engine.image)) }}
{{- fail (printf "engine.image: %s is not pinned; add a tag or a digest" $v.engine.image) }}
{{- end }}
{{- range list $v.engine.image $v.router.image $v.download.image }}
{{- if hasSuffix ":latest" . }}
{{- fail (printf "%s: latest is another image tomorrow; pin a release or a digest" .) }}
{{- end }}
{{- end }}
{{- if and $v.model.claim $v.model.hostPath }}
{{- fail "model: claim and hostPath are both set; a checkpoint lies in one place" }}
{{- end }}
{{- if and (include "vllm.fromHub" .) (not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$" $v.model.id)) }}
{{- fail (printf "model.id: %q is no Hub id; for a folder name its claim or hostPath" $v.model.id) }}
{{- end }}
{{- if and $v.cache.enabled (eq $mode "ReadWriteOnce") (gt $most 1) (not $v.cache.existingClaim) }}
{{- fail (printf "cache.accessMode: ReadWriteOnce is one node's, and there may be %d replicas; use ReadWriteMany, or cache.enabled: false" $most) }}
{{- end }}
{{- if and $v.cache.enabled $v.cache.existingClaim (gt $most 1) (ne $v.cache.accessMode "ReadWriteMany") }}
{{- fail "cache.existingClaim: for several replicas it must be ReadWriteMany; say so with cache.accessMode" }}
{{- end }}
{{- if and $v.cache.enabled (eq $mode "ReadWriteOnce") (gt (int $v.rollout.maxSurge) 0) }}
{{- fail "rollout.maxSurge: a new pod would wait for the ReadWriteOnce cache of the old one; use 0" }}
{{- end }}
{{- if and (eq (int $v.rollout.maxSurge) 0) (eq (int $v.rollout.maxUnavailable) 0) }}
{{- fail "rollout: maxSurge and maxUnavailable are both 0, so that no pod could ever be replaced" }}
{{- end }}
{{- if $v.download.enabled }}
{{- if not (include "vllm.fromHub" .) }}{{ fail "download.enabled: the model is not from the Hub" }}{{ end }}
{{- if not $v.cache.enabled }}{{ fail "download.enabled: there is no cache to download into; use cache.enabled: true" }}{{ end }}
{{- if ne $mode "ReadWriteMany" }}
{{- fail "download.enabled: the Job and the engine run on different nodes; use cache.accessMode: ReadWriteMany" }}
{{- end }}
{{- end }}
{{- if lt (int $v.drain.gracePeriodSeconds) (add (int $v.drain.preStopSeconds) 10 | int) }}
{{- fail "drain.gracePeriodSeconds: give requests at least 10 s after drain.preStopSeconds" }}
{{- end }}
{{- if include "vllm.scaled" . }}
{{- if lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas) }}
{{- fail "autoscaling.maxReplicas: fewer than minReplicas" }}
{{- end }}
{{- if and (eq $v.autoscaling.kind "keda") (not $v.autoscaling.prometheusUrl) }}
{{- fail "autoscaling.prometheusUrl: keda asks Prometheus; say where it is, e.g. http://prometheus.monitoring:9090" }}
{{- end }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}{{ fail "ingress.host: an Ingress without a host takes everyone's requests" }}{{ end }}
{{- if and $v.ingress.enabled (not $v.ingress.tlsSecret) }}{{ fail "ingress.tlsSecret: keys and prompts would travel in the clear" }}{{ end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parents) }}{{ fail "httpRoute.parents: name a Gateway" }}{{ end }}
{{- if and (not $v.apiKey.enabled) (or $v.ingress.enabled $v.httpRoute.enabled (ne $v.service.type "ClusterIP")) }}
{{- fail "apiKey.enabled: a service that is reached from outside the cluster needs a key" }}
{{- end }}
{{- if and $v.apiKey.value $v.apiKey.existingSecret }}{{ fail "apiKey: value and existingSecret are both set" }}{{ end }}
{{- if and $v.hubToken.value $v.hubToken.existingSecret }}{{ fail "hubToken: value and existingSecret are both set" }}{{ end }}
{{- range $v.engine.args }}
{{- if regexMatch "^--(model|host|port|api-key|hf-token|revision|uds)(=|$)" . }}
{{- fail (printf "engine.args: %s is the chart's own; see model, engine.port and apiKey" (regexFind "^--[a-z-]+" .)) }}
{{- end }}
{{- end }}
{{- range $name, $value := $v.engine.env }}
{{- if regexMatch "(?i)(TOKEN|API_?KEY|SECRET|PASSWORD)$" $name }}
{{- fail (printf "engine.env.%s: looks like a secret; use apiKey or hubToken" $name) }}
{{- end }}
{{- end }}
{{- if and (gt (int $v.gpu.count) 0) $v.security.readOnlyRootFilesystem }}
{{- fail "security.readOnlyRootFilesystem: NVIDIA's hook writes into the root of a pod with cards; use false" }}
{{- end }}
{{- end }}
