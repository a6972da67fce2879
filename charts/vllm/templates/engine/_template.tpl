{{/* The engine's pod: of a Deployment, or of a group the leader or a worker (.role), whose definition
has no room for labels. */}}
{{- define "vllm.podTemplate" -}}
{{- $v := .Values -}}
{{- $worker := eq (.role | default "") "worker" -}}
{{ if not .role -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: engine
  labels:
    {{- include "vllm.podLabels" (list . "engine") | nindent 4 }}
{{ end -}}
spec:
  serviceAccountName: {{ include "vllm.name" . | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $v.drain.gracePeriodSeconds | int }}
  securityContext:
    {{- include "vllm.podSecurity" . | nindent 4 }}
  {{- with $v.engine.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  {{- if include "vllm.claims" . }}
  resourceClaims:
    - name: cards
      resourceClaimTemplateName: {{ include "vllm.cards.name" . | quote }}
  {{- end }}
  {{- with $v.scheduling.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- with $v.scheduling.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- with $v.scheduling.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "vllm.affinity" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $v.scheduling.tolerations }}
  tolerations:
    {{- range . }}
    - operator: {{ .operator | default (ternary "Equal" "Exists" (not (empty .value))) }}
      {{- with .key }}
      key: {{ . | toJson }}
      {{- end }}
      {{- with .value }}
      value: {{ . | toJson }}
      {{- end }}
      {{- with .effect }}
      effect: {{ . }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- if $v.download.enabled }}
  initContainers:
    - name: wait-for-model
      image: {{ $v.engine.image | quote }}
      imagePullPolicy: {{ include "vllm.pullPolicy" (list . $v.engine.image) }}
      command: [python3, /opt/deployctl/download.py, wait]
      args:
        - {{ include "vllm.literal" $v.model.id }}
        - {{ include "vllm.literal" $v.model.revision }}
        - {{ include "vllm.download.mark" . | quote }}
      env:
        - name: HF_HOME
          value: /cache/hub
      resources:
        requests: {cpu: 50m, memory: 64Mi}
        limits: {memory: 64Mi}
      securityContext:
        {{- include "vllm.containerSecurity" true | nindent 8 }}
      volumeMounts:
        - {name: download, mountPath: /opt/deployctl, readOnly: true}
        - {name: cache, mountPath: /cache, readOnly: true}
  {{- end }}
  containers:
    - name: engine
      image: {{ $v.engine.image | quote }}
      imagePullPolicy: {{ include "vllm.pullPolicy" (list . $v.engine.image) }}
      {{- if $worker }}
      command: [python3, -m, vllm.entrypoints.cli.main, serve]
      {{- else }}
      command: [/bin/sh, /opt/deployctl/entrypoint.sh]
      {{- end }}
      args:
        {{- include "vllm.engine.args" . | nindent 8 }}
      env:
        {{- include "vllm.engine.env" . | trim | nindent 8 }}
      {{- if not $worker }}
      ports:
        - {name: http, containerPort: {{ $v.engine.port | int }}, protocol: TCP}
      {{- end }}
      {{- $cards := and (gt (int $v.gpu.count) 0) (not (include "vllm.claims" .)) }}
      {{- $bounded := ne $v.resources.memoryLimit "none" }}
      resources:
        requests:
          cpu: {{ $v.resources.cpu | quote }}
          memory: {{ $v.resources.memory | quote }}
          {{- if $cards }}
          {{ $v.gpu.resource | quote }}: {{ $v.gpu.count | int }}
          {{- end }}
        {{- if or $bounded $cards $v.resources.cpuLimit }}
        limits:
          {{- with $v.resources.cpuLimit }}
          cpu: {{ . | quote }}
          {{- end }}
          {{- if $bounded }}
          memory: {{ $v.resources.memoryLimit | default $v.resources.memory | quote }}
          {{- end }}
          {{- if $cards }}
          {{ $v.gpu.resource | quote }}: {{ $v.gpu.count | int }}
          {{- end }}
        {{- end }}
        {{- if include "vllm.claims" . }}
        claims:
          - name: cards
        {{- end }}
      {{- if not $worker }}
      startupProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 5
        timeoutSeconds: {{ $v.probes.timeoutSeconds | int }}
        failureThreshold: {{ div (add (int $v.probes.startupSeconds) 4) 5 }}
        # Of an engine that loads or is dead, nobody is waited for.
        terminationGracePeriodSeconds: 10
      # /health says 200 with a hung engine: these look for progress too.
      readinessProbe:
        {{- if $v.probes.readinessStallSeconds }}
        exec:
          {{- include "vllm.alive" (list . "--ready" $v.probes.readinessStallSeconds $v.probes.readinessPeriodSeconds $v.probes.readinessFailures) | nindent 10 }}
        {{- else }}
        httpGet: {path: /health, port: http}
        {{- end }}
        periodSeconds: {{ $v.probes.readinessPeriodSeconds | int }}
        timeoutSeconds: {{ $v.probes.timeoutSeconds | int }}
        failureThreshold: {{ $v.probes.readinessFailures | int }}
      livenessProbe:
        exec:
          {{- include "vllm.alive" (list . "" $v.probes.stallSeconds $v.probes.livenessPeriodSeconds $v.probes.livenessFailures) | nindent 10 }}
        periodSeconds: {{ $v.probes.livenessPeriodSeconds | int }}
        timeoutSeconds: {{ $v.probes.timeoutSeconds | int }}
        failureThreshold: {{ $v.probes.livenessFailures | int }}
        terminationGracePeriodSeconds: 10
      {{- end }}
      lifecycle:
        preStop:
          {{- if $worker }}
          # Its leader has requests to end.
          exec:
            command: [sleep, {{ sub (int $v.drain.gracePeriodSeconds) 5 | toString | quote }}]
          {{- else }}
          {{- include "vllm.preStop" . | nindent 10 }}
          {{- end }}
      terminationMessagePolicy: FallbackToLogsOnError
      securityContext:
        {{- include "vllm.containerSecurity" $v.security.readOnlyRootFilesystem | nindent 8 }}
      volumeMounts:
        - {name: files, mountPath: /opt/deployctl, readOnly: true}
        - {name: secrets, mountPath: /run/secrets, readOnly: true}
        - {name: cache, mountPath: /cache}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
        {{- if not (include "vllm.fromHub" .) }}
        - name: model
          mountPath: {{ include "vllm.model.path" . }}
          readOnly: true
          {{- with $v.model.subPath }}
          subPath: {{ . | toJson }}
          {{- end }}
        {{- end }}
  volumes:
    {{- include "vllm.filesVolume" . | nindent 4 }}
    {{- if $v.download.enabled }}
    {{- include "vllm.downloadVolume" . | nindent 4 }}
    {{- end }}
    {{- include "vllm.secretsVolume" . | nindent 4 }}
    {{- include "vllm.cacheVolume" . | nindent 4 }}
    - name: tmp
      emptyDir:
        sizeLimit: 10Gi
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: {{ $v.resources.sharedMemory | quote }}
    {{- with $v.model.claim }}
    - name: model
      persistentVolumeClaim:
        claimName: {{ . | quote }}
        readOnly: true
    {{- end }}
    {{- with $v.model.image }}
    - name: model
      image:
        reference: {{ . | quote }}
        pullPolicy: {{ include "vllm.pullPolicy" (list $ .) }}
    {{- end }}
    {{- with $v.model.hostPath }}
    - name: model
      hostPath:
        path: {{ . | toJson }}
        type: Directory
    {{- end }}
{{- end }}
