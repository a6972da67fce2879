{{/* Names, labels and what follows from several values. Objects are named here and nowhere else. */}}

{{/*
The name of the service. Never "vllm": a Service of that name gives every pod beside it a
VLLM_PORT=tcp://..., which the engine reads as its port.
*/}}
{{- define "vllm.name" -}}
{{- $name := .Values.name | default .Release.Name -}}
{{- $name = regexReplaceAll "[^a-z0-9-]+" (lower $name) "-" | trunc 40 | trimAll "-" -}}
{{- if not (regexMatch "^[a-z]" $name) }}{{ $name = printf "m-%s" $name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- if eq $name "vllm" }}{{ $name = "vllm-engine" }}{{ end -}}
{{- $name -}}
{{- end }}

{{- define "vllm.router.name" -}}{{ include "vllm.name" . }}-router{{- end }}
{{/* With a hash of what is in it: a pod keeps the files that it was made for, while others are made
anew, and another door makes them anew. */}}
{{- define "vllm.files.name" -}}
{{ include "vllm.name" . }}-files-{{ include "vllm.files.data" . | sha256sum | trunc 10 }}
{{- end }}
{{/* A template of claims cannot be changed, so that whatever is in it is in its name. */}}
{{- define "vllm.cards.name" -}}
{{- $gpu := .Values.gpu -}}
{{ include "vllm.name" . }}-cards-{{ list $gpu.count $gpu.deviceClass $gpu.cards | toJson | sha256sum | trunc 10 }}
{{- end }}
{{- define "vllm.claims" -}}
{{- if and (eq .Values.gpu.allocation "claim") (gt (int .Values.gpu.count) 0) }}yes{{ end -}}
{{- end }}
{{- define "vllm.hubTokenMade.name" -}}{{ include "vllm.name" . }}-hub-token{{- end }}
{{- define "vllm.apiKeyMade.name" -}}{{ include "vllm.name" . }}-api-key{{- end }}
{{- define "vllm.operatorTokenMade.name" -}}{{ include "vllm.name" . }}-operator-token{{- end }}
{{- define "vllm.dashboards.name" -}}{{ include "vllm.name" . }}-dashboards{{- end }}
{{/* Takes (list context dashboard). */}}
{{- define "vllm.dashboard.name" -}}{{ include "vllm.name" (index . 0) }}-dashboard-{{ index . 1 }}{{- end }}
{{- define "vllm.smoke.name" -}}{{ include "vllm.name" . }}-smoke{{- end }}
{{- define "vllm.apiKey.name" -}}
{{- .Values.apiKey.existingSecret | default (include "vllm.apiKeyMade.name" .) -}}
{{- end }}
{{/* The Secret with the operator's token: that of the keys, unless another is named or made. */}}
{{- define "vllm.operatorToken.name" -}}
{{- $own := .Values.operatorToken -}}
{{- if $own.value }}{{ include "vllm.operatorTokenMade.name" . }}
{{- else }}{{ $own.existingSecret | default (include "vllm.apiKey.name" .) }}{{ end -}}
{{- end }}
{{- define "vllm.hubToken.name" -}}
{{- if .Values.hubToken.value }}{{ include "vllm.hubTokenMade.name" . }}{{ else }}{{ .Values.hubToken.existingSecret }}{{ end -}}
{{- end }}
{{/* A claim's access mode cannot be changed, so that another mode is another claim. */}}
{{- define "vllm.cache.name" -}}
{{- $suffix := ternary "shared-cache" "cache" (eq (include "vllm.cache.accessMode" .) "ReadWriteMany") -}}
{{- .Values.cache.existingClaim | default (printf "%s-%s" (include "vllm.name" .) $suffix) -}}
{{- end }}
{{- define "vllm.download.mark" -}}
{{- list .Values.model.id .Values.model.revision | toJson | sha256sum | trunc 10 -}}
{{- end }}
{{/* A Job cannot be changed, so that whatever is in it is in its name. */}}
{{- define "vllm.download.name" -}}
{{- $in := list .Values.model .Values.download .Values.engine.image (include "vllm.pullPolicy" (list . (.Values.download.image | default .Values.engine.image))) .Values.engine.pullSecrets
  .Values.security .Values.labels .Values.hubToken (include "vllm.cache.name" .) (.Files.Get "files/download.py") -}}
{{- include "vllm.name" . }}-download-{{ $in | toJson | sha256sum | trunc 10 -}}
{{- end }}
{{/* What clients talk to: the router where there is one. */}}
{{- define "vllm.front.name" -}}
{{- if .Values.router.enabled }}{{ include "vllm.router.name" . }}{{ else }}{{ include "vllm.name" . }}{{ end -}}
{{- end }}
{{- define "vllm.front.component" -}}{{ ternary "router" "engine" .Values.router.enabled }}{{- end }}

{{/* Labels by which pods are selected: they never change. Takes (list context component). */}}
{{- define "vllm.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: vllm
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object. Takes (list context component). */}}
{{- define "vllm.labels" -}}
{{- $root := index . 0 -}}
{{- $own := dict
  "app.kubernetes.io/name" "vllm"
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/component" (index . 1)
  "app.kubernetes.io/part-of" (include "vllm.name" $root)
  "app.kubernetes.io/version" (regexReplaceAll "[^A-Za-z0-9_.-]" $root.Values.engine.version "_" | trunc 63)
  "app.kubernetes.io/managed-by" ($root.Values.managedBy | default $root.Release.Service)
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_")) -}}
{{- merge $own $root.Values.labels | toYaml -}}
{{- end }}

{{/* Labels of a pod: none that a new chart changes, for that would restart engines. */}}
{{- define "vllm.podLabels" -}}
{{- $root := index . 0 -}}
{{- merge (include "vllm.selector" . | fromYaml) $root.Values.labels | toYaml -}}
{{- end }}

{{/* metadata: of an object. Takes (list context name component), and more labels if there are. */}}
{{- define "vllm.metadata" -}}
{{- $root := index . 0 -}}
{{- $more := dict -}}
{{- if gt (len .) 3 }}{{ $more = index . 3 }}{{ end -}}
name: {{ index . 1 | quote }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- merge (include "vllm.labels" (list $root (index . 2)) | fromYaml) $more | toYaml | nindent 2 }}
{{- end }}

{{/* The engine's release as semver, for vLLM has versions such as 0.9.0.1. */}}
{{- define "vllm.version" -}}
{{- regexFind "^[0-9]+\\.[0-9]+\\.[0-9]+" .Values.engine.version -}}
{{- end }}
{{- define "vllm.since" -}}
{{- $root := index . 0 -}}
{{- if semverCompare (printf ">=%s" (index . 1)) (include "vllm.version" $root) }}yes{{ end -}}
{{- end }}
{{/* A query of files/queries.yaml, over the names of the engine's release. Takes (list context name). */}}
{{- define "vllm.query" -}}
{{- $root := index . 0 -}}{{- $query := "" -}}
{{- range index ($root.Files.Get "files/queries.yaml" | fromYaml) (index . 1) -}}
{{- if or (not $query) (include "vllm.since" (list $root .since)) }}{{ $query = .query }}{{ end -}}
{{- end -}}
{{- printf $query (include "vllm.series" $root) -}}
{{- end }}

{{- define "vllm.grouped" -}}{{ if gt (int .Values.group.size) 1 }}yes{{ end }}{{- end }}
{{/* LeaderWorkerSet makes a headless Service of its own name. */}}
{{- define "vllm.group.name" -}}{{ include "vllm.name" . }}-group{{- end }}
{{/* Labels that select the engines; those of a group's template need not reach its pods. */}}
{{- define "vllm.engines" -}}
{{- if include "vllm.grouped" . -}}
leaderworkerset.sigs.k8s.io/name: {{ include "vllm.group.name" . | quote }}
{{- else }}{{ include "vllm.selector" (list . "engine") }}{{ end -}}
{{- end }}
{{/* Those that answer: of a group the leader. */}}
{{- define "vllm.answers" -}}
{{- include "vllm.engines" . }}
{{- if include "vllm.grouped" . }}
leaderworkerset.sigs.k8s.io/worker-index: "0"
{{- end }}
{{- end }}
{{- define "vllm.scaled" -}}{{ if ne .Values.autoscaling.kind "none" }}yes{{ end }}{{- end }}
{{- define "vllm.mostReplicas" -}}
{{- if include "vllm.scaled" . }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end -}}
{{- end }}
{{/* Whether the model comes from the Hub, and whether the engine itself fetches it. */}}
{{- define "vllm.fromHub" -}}{{ if not (or .Values.model.claim .Values.model.image .Values.model.hostPath) }}yes{{ end }}{{- end }}
{{- define "vllm.fetches" -}}{{ if and (include "vllm.fromHub" .) (not .Values.download.enabled) }}yes{{ end }}{{- end }}
{{- define "vllm.cache.accessMode" -}}
{{- .Values.cache.accessMode | default (ternary "ReadWriteMany" "ReadWriteOnce" (gt (mul (include "vllm.mostReplicas" . | int) (int .Values.group.size)) 1)) -}}
{{- end }}
{{- define "vllm.model.path" -}}/models/{{ include "vllm.name" . }}{{- end }}

{{/* Kubernetes replaces $(NAME) in arguments and variables; a doubled dollar is a dollar. */}}
{{- define "vllm.literal" -}}{{ . | replace "$" "$$" | toJson }}{{- end }}

{{/* Where our series are. A pod of the Deployment is NAME-HASH-HASH, a leader of a group GROUP-NUMBER. Hashes have
these letters alone, as Kubernetes makes them: NAME-redis-0 is somebody else's. */}}
{{- define "vllm.hash" -}}[bcdfghjklmnpqrstvwxz2456789]{{- end }}
{{- define "vllm.series" -}}
{{- if .Values.autoscaling.prometheusSelector }}{{ .Values.autoscaling.prometheusSelector }}
{{- else }}namespace="{{ .Release.Namespace }}",pod=~"
{{- if include "vllm.grouped" . }}{{ include "vllm.group.name" . }}-[0-9]+{{ else }}{{ include "vllm.name" . }}-{{ include "vllm.hash" . }}+-{{ include "vllm.hash" . }}{5}{{ end }}"
{{- end -}}
{{- end }}

{{/* A NetworkPolicy's peer. Takes (list context peer). */}}
{{- define "vllm.peer" -}}
{{- $peer := index . 1 -}}
{{- if $peer.namespace }}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ $peer.namespace | toJson }}
  {{- with $peer.podLabels }}
  podSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- else }}
- podSelector:
    {{- if $peer.podLabels }}
    matchLabels:
      {{- toYaml $peer.podLabels | nindent 6 }}
    {{- else }} {}{{ end }}
{{- end }}
{{- end }}
{{/* Every client, and the test's pod. */}}
{{- define "vllm.clients" -}}
{{- $root := . -}}
{{- range .Values.networkPolicy.clients }}
{{- include "vllm.peer" (list $root .) }}
{{- else }}
- podSelector: {}
{{- end }}
{{- with and .Values.networkPolicy.clients (include "vllm.tester" .) }}
{{- . }}
{{- end }}
{{- end }}
{{- define "vllm.tester" -}}
{{- if .Values.tests.enabled }}
- podSelector:
    matchLabels:
      {{- include "vllm.selector" (list . "smoke") | nindent 6 }}
{{- end }}
{{- end }}

{{/* securityContext of every pod and every container. */}}
{{- define "vllm.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.security.runAsUser | int64 }}
runAsGroup: {{ .Values.security.runAsGroup | int64 }}
fsGroup: {{ .Values.security.runAsGroup | int64 }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "vllm.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: {{ . }}
runAsNonRoot: true
{{- end }}

{{/* How Prometheus asks for metrics, which the door lets the operator alone have. */}}
{{- define "vllm.scrapeAuthorization" -}}
authorization:
  type: Bearer
  credentials:
    name: {{ include "vllm.operatorToken.name" . | quote }}
    key: {{ .Values.operatorToken.key | quote }}
{{- end }}

{{/* So that queries find the service by its name, whatever else Prometheus has from Kubernetes. */}}
{{- define "vllm.scrapeLabels" -}}
relabelings:
  - targetLabel: service
    replacement: {{ include "vllm.name" . | quote }}
{{- end }}

{{/* A file of the chart as a block's lines. Takes (list context file). */}}
{{- define "vllm.file" -}}
{{- $lines := (index . 0).Files.Get (printf "files/%s" (index . 1)) | trim | indent 4 -}}
{{- printf "\n%s" (regexReplaceAll "(?m)^ +$" $lines "") -}}
{{- end }}

{{/* When an image is pulled. Nobody publishes those that deployctl builds on a host: whoever owns that
name on a public registry is a stranger. Takes (list context image). */}}
{{- define "vllm.pullPolicy" -}}
{{- if hasPrefix "deployctl/" (index . 1) }}Never{{ else }}{{ (index . 0).Values.engine.pullPolicy }}{{ end -}}
{{- end }}
