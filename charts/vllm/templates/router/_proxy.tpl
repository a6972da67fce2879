{{/* What stands before the router. Its own routes change where requests go, and ask for no key: it
listens on loopback alone, and only what clients may ask goes there. */}}
{{- define "vllm.router.httpPort" -}}65001{{- end }}
{{- define "vllm.router.metricsPort" -}}65002{{- end }}
{{/* With a hash of what is in it, so that routers are made anew with another. */}}
{{- define "vllm.router.proxy.name" -}}
{{ include "vllm.router.name" . }}-proxy-{{ include "vllm.router.proxy" . | sha256sum | trunc 10 }}
{{- end }}

{{/* HAProxy's configuration. */}}
{{- define "vllm.router.proxy" -}}
{{- $router := .Values.router -}}
global
    maxconn 8192
    nbthread 2
    # From the pod's end on each answer ends its connection; so long new ones are taken all the same.
    grace {{ .Values.drain.preStopSeconds | int }}s

defaults
    mode http
    option http-no-delay
    timeout connect 5s
    timeout http-request {{ mulf .Values.door.limits.seconds 1000 | int }}ms
    timeout http-keep-alive 60s
    timeout client {{ $router.requestTimeoutSeconds | int }}s
    timeout server {{ $router.requestTimeoutSeconds | int }}s

frontend clients
    bind :{{ $router.port | int }}
    monitor-uri /proxy
    http-request deny deny_status 413 if { req.hdr_val(content-length) gt {{ .Values.door.limits.bytes | int64 }} }
    http-after-response set-header Connection close if { stopping }
    {{- range concat (list "GET /health" "GET /liveness" "GET /readiness") .Values.door.routes.user }}
    {{- $method := splitList " " . | first }}
    {{- $path := splitList " " . | last }}
    {{- if contains "{" $path }}
    {{- $pattern := regexReplaceAll "\\{[^}]*\\}" ($path | replace "." "\\.") "[^/]+" }}
    use_backend router if { method {{ $method }} } { path_reg ^{{ $pattern }}$ }
    {{- else }}
    use_backend router if { method {{ $method }} } { path {{ $path }} }
    {{- end }}
    {{- end }}
    default_backend nobody

frontend metrics
    bind :{{ $router.metricsPort | int }}
    use_backend metrics if { method GET } { path /metrics }
    default_backend nobody

backend router
    server router 127.0.0.1:{{ include "vllm.router.httpPort" . }}

backend metrics
    server metrics 127.0.0.1:{{ include "vllm.router.metricsPort" . }}

backend nobody
    http-request return status 404
{{- end }}
