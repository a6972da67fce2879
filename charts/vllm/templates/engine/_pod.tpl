{{/* Parts of the engine's pod. */}}

{{/* The engine's words: where the model and the port are, how it drains, and the plan's flags. */}}
{{- define "vllm.engine.args" -}}
{{- $given := join " " .Values.engine.args -}}
{{- $worker := eq (.role | default "") "worker" -}}
{{ if not $worker }}- --model
{{ end -}}
- {{ include "vllm.literal" (ternary .Values.model.id (include "vllm.model.path" .) (ne "" (include "vllm.fromHub" .))) }}
{{- if include "vllm.grouped" . }}
{{- /* LeaderWorkerSet sets the variables in every pod of a group. */}}
{{- if $worker }}
- --headless
{{- end }}
- --nnodes
- {{ .Values.group.size | int | toString | quote }}
- --node-rank
- $(LWS_WORKER_INDEX)
- --master-addr
- $(LWS_LEADER_ADDRESS)
{{- end }}
- --host
- 0.0.0.0
- --port
- {{ .Values.engine.port | int | toString | quote }}
{{- if and .Values.model.revision (include "vllm.fromHub" .) }}
- --revision
- {{ include "vllm.literal" .Values.model.revision }}
{{- end }}
{{- if and (include "vllm.since" (list . "0.18.0")) (not (contains "--shutdown-timeout" $given)) (not $worker) }}
- --shutdown-timeout
- {{ sub (sub (int .Values.drain.gracePeriodSeconds) (int .Values.drain.preStopSeconds)) 5 | toString | quote }}
{{- end }}
{{- if and (include "vllm.since" (list . "0.16.0")) (not (contains "--disable-access-log-for-endpoints" $given)) }}
- --disable-access-log-for-endpoints
- /health,/metrics
{{- end }}
{{- range .Values.engine.args }}
- {{ include "vllm.literal" . }}
{{- end }}
{{- if not $worker }}
{{- /* Last, for the last middleware is the outermost. */}}
- --middleware
- deployctl_door.vllm.Middleware
- --disable-fastapi-docs
{{- end }}
{{- end }}

{{/* A uid without a name or a home needs both from here, and every cache a place to write. */}}
{{- define "vllm.engine.env" -}}
{{- $own := dict
  "HOME" "/tmp"
  "USER" "vllm"
  "HF_HOME" "/cache/hub"
  "VLLM_CACHE_ROOT" "/cache/vllm"
  "TORCHINDUCTOR_CACHE_DIR" "/cache/vllm/inductor"
  "TRITON_CACHE_DIR" "/cache/vllm/triton"
  "FLASHINFER_WORKSPACE_BASE" "/cache/vllm"
  "CUDA_CACHE_PATH" "/cache/vllm/nv"
  "PYTHONUNBUFFERED" "1"
  "VLLM_NO_USAGE_STATS" "1"
  "DO_NOT_TRACK" "1" -}}
{{- /* By itself, each engine of a node would bind its threads to the same cores. */}}
{{- if not (or (int .Values.gpu.count) .Values.resources.exclusiveCores) }}
{{- $_ := set $own "VLLM_CPU_OMP_THREADS_BIND" "nobind" }}
{{- end -}}
{{- if include "vllm.fetches" . }}{{ $_ := set $own "HF_TOKEN_PATH" "/run/secrets/hf_token" }}
{{- else }}{{ $_ := set $own "HF_HUB_OFFLINE" "1" }}{{ end -}}
{{- $all := merge (dict) .Values.engine.env $own -}}
{{- /* Last, so that nothing above can say otherwise. */}}
{{- $_ := set $all "PYTHONPATH" (compact (list "/opt/deployctl" $all.PYTHONPATH) | join ":") -}}
{{- $_ := set $all "DEPLOYCTL_DOOR" "/opt/deployctl/door.json" -}}
{{- if .Values.apiKey.enabled }}{{ $_ := set $all "API_KEY_REQUIRED" "1" }}{{ end -}}
{{- range $name, $value := $all }}
- name: {{ $name | quote }}
  value: {{ include "vllm.literal" $value }}
{{- end }}
{{- end }}

{{/* When it ends: the door closes at once, and turns away who comes when 20 s are left; those who are
in have until 10 s are left to leave, and then the engine's own shutdown begins. The shell closes it:
on a node where everything wants to run, Python was seen to take a minute to begin. */}}
{{- define "vllm.preStop" -}}
exec:
  command:
    - sh
    - -c
    - ': >"$0"; exec python3 -S /opt/deployctl/leave.py "$@"'
    - {{ include "vllm.drainFile" . }}
    - {{ .Values.engine.port | int | toString | quote }}
    - {{ include "vllm.probeToken" . }}
    - {{ .Values.drain.preStopSeconds | int | toString | quote }}
    - {{ max (int .Values.drain.preStopSeconds) (sub (int .Values.drain.gracePeriodSeconds) 10) | toString | quote }}
{{- end }}

{{/* In the container's own /tmp: what begins the drain, and what opens metrics to the probes. */}}
{{- define "vllm.drainFile" -}}/tmp/deployctl-drain{{- end }}
{{- define "vllm.probeToken" -}}/tmp/deployctl-probe-token{{- end }}

{{/* The look at progress, with the probe's token. Takes (list context option seconds period failures):
the seconds are of the whole, and so many failures in a row take some of them. */}}
{{- define "vllm.alive" -}}
{{- $root := index . 0 -}}
{{- $seconds := int (index . 2) -}}
{{- if $seconds }}
{{- $seconds = max 1 (sub $seconds (mul (int (index . 3)) (sub (int (index . 4)) 1))) }}
{{- end -}}
command:
  - python3
  - -I
  - -S
  - /opt/deployctl/alive.py
  {{- with index . 1 }}
  - {{ . }}
  {{- end }}
  - {{ $root.Values.engine.port | int | toString | quote }}
  - {{ max 1 (sub (int $root.Values.probes.timeoutSeconds) 1) | toString | quote }}
  - {{ $seconds | toString | quote }}
  - {{ include "vllm.probeToken" $root }}
{{- end }}

{{/* What the door before the engine is told (deploy/door/deployctl_door/configuration.py). */}}
{{- define "vllm.door" -}}
{{- $door := .Values.door -}}
{{- $limits := set (omit $door.limits "choices") "n" $door.limits.choices -}}
{{- if not $limits.tokens }}{{ $limits = omit $limits "tokens" }}{{ end -}}
{{- $told := dict
  "version" 1
  "secrets" "/run/secrets"
  "keyless" (not .Values.apiKey.enabled)
  "drain_file" (include "vllm.drainFile" .)
  "drain_after_s" (max (int .Values.drain.preStopSeconds) (sub (int .Values.drain.gracePeriodSeconds) 20))
  "probe_token" (include "vllm.probeToken" .)
  "request_log" $door.requestLog
  "body" $limits -}}
{{- if $door.tellRequestId }}{{ $_ := set $told "tell_request_id" true }}{{ end -}}
{{- range $who, $routes := dict "user" $door.routes.user "operator" $door.routes.operator "probe" (list "GET /health") }}
{{- $pairs := list }}
{{- range $routes }}{{ $pairs = append $pairs (splitList " " .) }}{{ end }}
{{- $_ := set $told $who $pairs }}
{{- end -}}
{{- toPrettyJson $told -}}
{{- end }}

{{/* Secrets as files: a variable would show in `kubectl describe`. A folder, for a file that is
mounted by itself is never updated. Keys may be missing: the door says so, and does not open. */}}
{{- define "vllm.secretsVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- if .Values.apiKey.enabled }}
      - secret:
          name: {{ include "vllm.apiKey.name" . | quote }}
          optional: true
          items:
            - key: {{ .Values.apiKey.key | quote }}
              path: api_key
            - key: keys.json
              path: keys.json
      {{- end }}
      - secret:
          name: {{ include "vllm.operatorToken.name" . | quote }}
          optional: true
          items:
            - key: {{ .Values.operatorToken.key | quote }}
              path: operator_token
      {{- /* whoever fetches nothing needs no token */}}
      {{- with and (include "vllm.fetches" .) (include "vllm.hubToken.name" .) }}
      - secret:
          name: {{ . | quote }}
          {{- /* up puts the token beside the keys, if it has one */}}
          {{- if eq . (include "vllm.apiKeyMade.name" $) }}
          optional: true
          {{- end }}
          items:
            - key: {{ $.Values.hubToken.key | quote }}
              path: hf_token
      {{- end }}
{{- end }}
{{- define "vllm.cacheVolume" -}}
- name: cache
  {{- if .Values.cache.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "vllm.cache.name" . | quote }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.cache.ephemeralSize | quote }}
  {{- end }}
{{- end }}
{{/* Files of the engine's pod, by their keys in the ConfigMap, which have no slash. */}}
{{- define "vllm.files" -}}
entrypoint.sh: entrypoint.sh
alive.py: alive.py
leave.py: leave.py
{{- range $path, $_ := .Files.Glob "files/deployctl_door/*.py" }}
deployctl_door.{{ base $path }}: deployctl_door/{{ base $path }}
{{- end }}
{{- end }}
{{- define "vllm.files.data" }}
{{- range $key, $path := include "vllm.files" . | fromYaml }}
  {{ $key }}: |
    {{- include "vllm.file" (list $ $path) }}
{{- end }}
  door.json: |
    {{- include "vllm.door" . | nindent 4 }}
{{- end }}
{{- define "vllm.filesVolume" -}}
- name: files
  configMap:
    name: {{ include "vllm.files.name" . | quote }}
    defaultMode: 0444
    items:
      {{- range $key, $path := set (include "vllm.files" . | fromYaml) "door.json" "door.json" }}
      - {key: {{ $key }}, path: {{ $path }}}
      {{- end }}
{{- end }}

{{/* What is asked of the cards of one kind. Takes (list context card). */}}
{{- define "vllm.card" -}}
{{- $gpu := (index . 0).Values.gpu -}}
{{- $card := index . 1 -}}
{{- $attributes := "device.attributes['gpu.nvidia.com']" -}}
deviceClassName: {{ $gpu.deviceClass | quote }}
allocationMode: ExactCount
count: {{ $gpu.count | int }}
{{- if or $card.memory $card.products $card.leastCapability $card.mostCapability $card.slice }}
selectors:
  {{- with $card.memory }}
  - cel:
      expression: >-
        device.capacity['gpu.nvidia.com'].memory.compareTo(quantity('{{ . }}')) >= 0
  {{- end }}
  {{- with $card.leastCapability }}
  - cel:
      expression: >-
        {{ $attributes }}.cudaComputeCapability.compareTo(semver('{{ . }}.0')) >= 0
  {{- end }}
  {{- with $card.mostCapability }}
  - cel:
      expression: >-
        {{ $attributes }}.cudaComputeCapability.compareTo(semver('{{ . }}.0')) <= 0
  {{- end }}
  {{- with $card.products }}
  - cel:
      expression: >-
        {{ $attributes }}.productName in {{ toRawJson . }}
  {{- end }}
  {{- with $card.slice }}
  - cel:
      expression: >-
        {{ $attributes }}.profile == '{{ . }}'
  {{- end }}
{{- end }}
{{- end }}

{{/* The script of the Job that downloads, and of pods that wait for it. */}}
{{- define "vllm.downloadVolume" -}}
- name: download
  configMap:
    name: {{ include "vllm.download.name" . | quote }}
    defaultMode: 0444
{{- end }}

{{/* Nodes: any that has one of the label sets; and apart from the other replicas. */}}
{{- define "vllm.affinity" -}}
{{- $scheduling := .Values.scheduling -}}
{{- $apart := and $scheduling.spread (not (include "vllm.grouped" .)) (not (hasKey $scheduling.affinity "podAntiAffinity")) -}}
{{- if or $apart $scheduling.affinity $scheduling.gpuNodes }}
affinity:
  {{- if $scheduling.affinity }}
  {{- toYaml $scheduling.affinity | nindent 2 }}
  {{- else if $scheduling.gpuNodes }}
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        {{- range $scheduling.gpuNodes }}
        - matchExpressions:
            {{- range $key, $value := . }}
            - key: {{ $key | quote }}
              operator: In
              values: [{{ $value | toJson }}]
            {{- end }}
        {{- end }}
  {{- end }}
  {{- if $apart }}
  {{- include "vllm.apart" (list . "engine") | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* On other nodes and in other zones than its like, if possible. Not by spread constraints: where
nodes lack the label of one of them, as zones on many clusters, the scheduler scores by none.
Takes (list context component). */}}
{{- define "vllm.apart" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - weight: 100
      podAffinityTerm:
        topologyKey: {{ . }}
        labelSelector:
          matchLabels:
            {{- include "vllm.selector" $ | nindent 12 }}
        matchLabelKeys: [pod-template-hash]
    {{- end }}
{{- end }}

{{/* DNS, wherever a cluster has it, and HTTPS to the world but not to what is blocked. */}}
{{- define "vllm.hubEgress" -}}
{{- $four := list }}{{ $six := list }}
{{- range .Values.networkPolicy.egress.blocked }}
{{- if contains ":" . }}{{ $six = append $six . }}{{ else }}{{ $four = append $four . }}{{ end }}
{{- end -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        {{- with $four }}
        except: {{ toJson . }}
        {{- end }}
    - ipBlock:
        cidr: ::/0
        {{- with $six }}
        except: {{ toJson . }}
        {{- end }}
  ports:
    - {port: 443, protocol: TCP}
{{- end }}

{{/* Up at once, down late and one by one: a start takes minutes. */}}
{{- define "vllm.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 15}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds | int }}
  policies:
    - {type: Pods, value: 1, periodSeconds: 60}
{{- end }}
