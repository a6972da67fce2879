{{/*
Made by scripts/chart.py from deploy/kubernetes/refusals.yaml; `make docs` rewrites it.
Values that fit each by itself and not together: every refusal says where and how to fix it, and
all are told at once.
*/}}
{{- define "vllm.checks" }}
{{- $v := .Values }}
{{- $fromHub := and (not $v.model.claim) (not $v.model.image) (not $v.model.hostPath) }}
{{- $scaled := ne $v.autoscaling.kind "none" }}
{{- $severalReplicas := or (and (not $scaled) (gt (int64 $v.replicas) 1)) (and $scaled (gt (int64 $v.autoscaling.maxReplicas) 1)) (gt (int64 $v.group.size) 1) }}
{{- $oneNodeCache := or (eq $v.cache.accessMode "ReadWriteOnce") (and (not $v.cache.accessMode) (not $severalReplicas)) }}
{{- $reachedFromOutside := or $v.ingress.enabled $v.httpRoute.enabled (ne $v.service.type "ClusterIP") }}
{{- $refused := list }}
{{- if not (regexMatch "@sha256:|:[^/]+$" $v.engine.image) }}
{{- $refused = append $refused (printf "engine.image: %s is not pinned; add a tag or a digest" $v.engine.image) }}
{{- end }}
{{- if regexMatch ":latest$" $v.engine.image }}
{{- $refused = append $refused (printf "engine.image: %s: latest is not a fixed image; pin a release or a digest" $v.engine.image) }}
{{- end }}
{{- if regexMatch ":latest$" $v.router.image }}
{{- $refused = append $refused (printf "router.image: %s: latest is not a fixed image; pin a release or a digest" $v.router.image) }}
{{- end }}
{{- if regexMatch ":latest$" $v.router.proxyImage }}
{{- $refused = append $refused (printf "router.proxyImage: %s: latest is not a fixed image; pin a release or a digest" $v.router.proxyImage) }}
{{- end }}
{{- if regexMatch ":latest$" $v.download.image }}
{{- $refused = append $refused (printf "download.image: %s: latest is not a fixed image; pin a release or a digest" $v.download.image) }}
{{- end }}
{{- if regexMatch ":latest$" $v.model.image }}
{{- $refused = append $refused (printf "model.image: %s: latest is not a fixed image; pin a release or a digest" $v.model.image) }}
{{- end }}
{{- if or (and $v.model.claim $v.model.hostPath) (and $v.model.claim $v.model.image) (and $v.model.image $v.model.hostPath) }}
{{- $refused = append $refused (printf "model: claim, image and hostPath are three places, and several are set; name one of them") }}
{{- end }}
{{- if and $fromHub (not (regexMatch "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$" $v.model.id)) }}
{{- $refused = append $refused (printf "model.id: \"%s\" is no Hub id; for a folder name its claim, image or hostPath" $v.model.id) }}
{{- end }}
{{- if and $v.cache.enabled (not $v.cache.existingClaim) (eq $v.cache.accessMode "ReadWriteOnce") $severalReplicas }}
{{- $refused = append $refused (printf "cache.accessMode: ReadWriteOnce is one node's, and there may be several replicas; use ReadWriteMany, or cache.enabled: false") }}
{{- end }}
{{- if and $v.cache.enabled $v.cache.existingClaim (ne $v.cache.accessMode "ReadWriteMany") $severalReplicas }}
{{- $refused = append $refused (printf "cache.existingClaim: for several replicas it must be ReadWriteMany; say so with cache.accessMode") }}
{{- end }}
{{- if and $v.cache.enabled $oneNodeCache $v.rollout.maxSurge }}
{{- $refused = append $refused (printf "rollout.maxSurge: a new pod would wait for the old pod's ReadWriteOnce cache; use 0") }}
{{- end }}
{{- if and (not $v.rollout.maxSurge) (not $v.rollout.maxUnavailable) }}
{{- $refused = append $refused (printf "rollout: maxSurge and maxUnavailable are both 0, so that no pod could ever be replaced") }}
{{- end }}
{{- if and $v.download.enabled (not $fromHub) }}
{{- $refused = append $refused (printf "download.enabled: the model is not from the Hub") }}
{{- end }}
{{- if and $v.download.enabled (not $v.cache.enabled) }}
{{- $refused = append $refused (printf "download.enabled: there is no cache to download into; use cache.enabled: true") }}
{{- end }}
{{- if and $v.download.enabled $oneNodeCache }}
{{- $refused = append $refused (printf "download.enabled: the Job and the engine run on different nodes; use cache.accessMode: ReadWriteMany") }}
{{- end }}
{{- if lt (int64 $v.drain.gracePeriodSeconds) (add $v.drain.preStopSeconds 10) }}
{{- $refused = append $refused (printf "drain.gracePeriodSeconds: give requests at least 10 s after drain.preStopSeconds") }}
{{- end }}
{{- if and $scaled (lt (int64 $v.autoscaling.maxReplicas) (add $v.autoscaling.minReplicas)) }}
{{- $refused = append $refused (printf "autoscaling.maxReplicas: fewer than minReplicas") }}
{{- end }}
{{- if and (eq $v.autoscaling.kind "keda") (not $v.autoscaling.prometheusUrl) }}
{{- $refused = append $refused (printf "autoscaling.prometheusUrl: keda asks Prometheus; say where it is, e.g. http://prometheus.monitoring:9090") }}
{{- end }}
{{- if and (eq $v.autoscaling.kind "hpa") $v.autoscaling.cpuPercent $v.gpu.count }}
{{- $refused = append $refused (printf "autoscaling.cpuPercent: a CPU is busy whether an engine on a GPU waits or works; use 0, with an adapter that serves pod metrics; or autoscaling.kind: keda") }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}
{{- $refused = append $refused (printf "ingress.host: an Ingress without a host matches every request") }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.tlsSecret) }}
{{- $refused = append $refused (printf "ingress.tlsSecret: keys and prompts would be sent unencrypted") }}
{{- end }}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parents) }}
{{- $refused = append $refused (printf "httpRoute.parents: name a Gateway") }}
{{- end }}
{{- if and (not $v.apiKey.enabled) $reachedFromOutside }}
{{- $refused = append $refused (printf "apiKey.enabled: a service that is exposed outside the cluster needs an API key") }}
{{- end }}
{{- if and (ne $v.monitoring.kind "none") $v.apiKey.value (not $v.operatorToken.value) (not $v.operatorToken.existingSecret) }}
{{- $refused = append $refused (printf "monitoring.kind: metrics want an operator's token, and the Secret that the chart makes has none; set operatorToken.value or operatorToken.existingSecret") }}
{{- end }}
{{- if and $v.apiKey.value $v.apiKey.existingSecret }}
{{- $refused = append $refused (printf "apiKey: value and existingSecret are both set") }}
{{- end }}
{{- if and $v.operatorToken.value $v.operatorToken.existingSecret }}
{{- $refused = append $refused (printf "operatorToken: value and existingSecret are both set") }}
{{- end }}
{{- if and $v.hubToken.value $v.hubToken.existingSecret }}
{{- $refused = append $refused (printf "hubToken: value and existingSecret are both set") }}
{{- end }}
{{- range $v.engine.args }}
{{- $item := splitList "=" . | first }}
{{- if regexMatch "^--(model|host|port|api-key|hf-token|revision|uds)$" $item }}
{{- $refused = append $refused (printf "engine.args: %s is set by the chart; see model, engine.port and apiKey" $item) }}
{{- end }}
{{- end }}
{{- range $item, $_ := $v.engine.env }}
{{- if regexMatch "(?i)((^|[_-])(TOKEN|SECRET|PASS|CREDENTIAL|AUTHORIZATION|(ACCESS|ACCOUNT|AUTH|ENCRYPTION|MASTER|PRIVATE|SECRET|SIGNING|STORAGE)[_-]?KEY|CONNECTION[_-]?STRING)|[_-]PWD|API[_-]?KEY|PASSWORD|PASSWD|PASSPHRASE|CLIENT_?SECRET)$" $item }}
{{- $refused = append $refused (printf "engine.env.%s: looks like a secret; use apiKey or hubToken" $item) }}
{{- end }}
{{- end }}
{{- if and (eq $v.gpu.allocation "claim") $v.gpu.count (not $v.gpu.cards) }}
{{- $refused = append $refused (printf "gpu.cards: a claim says which cards will do, and none is named; give each a name and the memory that the model needs; deployctl plans them") }}
{{- end }}
{{- if and (eq $v.gpu.allocation "devicePlugin") $v.gpu.cards }}
{{- $refused = append $refused (printf "gpu.cards: a device plugin is not told which card; use gpu.allocation: claim") }}
{{- end }}
{{- if and (eq $v.gpu.allocation "claim") (not $v.gpu.count) }}
{{- $refused = append $refused (printf "gpu.allocation: no card is used, and a claim is for cards; use devicePlugin") }}
{{- end }}
{{- if and (gt (int64 $v.group.size) 1) $scaled }}
{{- $refused = append $refused (printf "group.size: a group of nodes is not scaled by this chart; use autoscaling.kind: none") }}
{{- end }}
{{- if and (gt (int64 $v.group.size) 1) $v.router.enabled }}
{{- $refused = append $refused (printf "group.size: the router would send requests to every pod of a group; use router.enabled: false") }}
{{- end }}
{{- if and $v.gpu.count $v.security.readOnlyRootFilesystem }}
{{- $refused = append $refused (printf "security.readOnlyRootFilesystem: NVIDIA's hook writes into the root of a pod with cards; use false") }}
{{- end }}
{{- $lines := join "\n  " $refused }}
{{- if eq (len $refused) 1 }}
{{- fail $lines }}
{{- end }}
{{- if $refused }}
{{- fail (printf "the values are refused for %d reasons:\n  %s" (len $refused) $lines) }}
{{- end }}
{{- end }}
