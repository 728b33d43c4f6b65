{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "rac.name" -}}
{{ printf "%s-proxy" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "rac.labels" -}}
app.kubernetes.io/name: rac-proxy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* (dict "root" $ "component" "proxy") */}}
{{- define "rac.selector" -}}
app.kubernetes.io/name: rac-proxy
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "rac.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Of every pod here: no account to talk to the API with, nobody's links, and not through the proxy itself. */}}
{{- define "rac.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ include "rac.name" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "rac.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "rac.pod.security" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "rac.scheme" -}}
{{ ternary "https" "http" (ne .Values.tls.secretName "") }}
{{- end }}

{{- define "rac.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: registry, scheme: {{ . | upper }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: registry, scheme: {{ . | upper }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: registry, scheme: {{ . | upper }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{/* Where nodes reach the proxy. */}}
{{- define "rac.address" -}}
{{- if .Values.mirror.address -}}
{{ .Values.mirror.address }}
{{- else if eq .Values.mode "daemonset" -}}
{{ include "rac.scheme" . }}://{{ .Values.daemonset.hostIP | default "127.0.0.1" }}:{{ .Values.daemonset.hostPort }}
{{- else if .Values.service.nodePort -}}
{{ include "rac.scheme" . }}://$(HOST_IP):{{ .Values.service.nodePort }}
{{- else if .Values.service.clusterIP -}}
{{ include "rac.scheme" . }}://{{ .Values.service.clusterIP }}:{{ .Values.service.port }}
{{- else -}}
{{ fail "mirror.address: where nodes reach the proxy; or service.nodePort, or service.clusterIP, or mirror.enabled: false" }}
{{- end -}}
{{- end }}

{{/* What the webhook needs to know of the configuration: which images there are and what is injected, no password. */}}
{{- define "rac.webhook.config" -}}
{{- $config := dict }}
{{- range $key := list "inject" "no-inject" "upstreams.any" "default-upstream" }}
{{- if hasKey $.Values.config $key }}{{ $_ := set $config $key (get $.Values.config $key) }}{{ end }}
{{- end }}
{{- $upstreams := list }}
{{- range .Values.upstreams }}
{{- $upstreams = append $upstreams (omit . "username" "password" "password-file" "ca" "realms") }}
{{- end }}
{{- if $upstreams }}{{ $_ := set $config "upstreams" $upstreams }}{{ end }}
{{- toYaml $config }}
{{- end }}
