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

{{/* (dict "scheme" "http" "ready" "/readyz") */}}
{{- define "rac.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: registry, scheme: {{ .scheme | upper }}}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: registry, scheme: {{ .scheme | upper }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: {{ .ready | quote }}, port: registry, scheme: {{ .scheme | upper }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{/* The Secret with the password of the Redis; empty: it has none. */}}
{{- define "rac.redis.secret" -}}
{{- with .Values.state.redis -}}
{{- if and .password .secretName }}{{ fail "state.redis: either password or secretName" }}{{ end -}}
{{- ternary (printf "%s-redis" (include "rac.name" $)) .secretName (ne .password "") -}}
{{- end -}}
{{- end }}

{{/* For how long a pod behind a service still answers once it ends, in s. Kubernetes before 1.30 has no such pause. */}}
{{- define "rac.delay" -}}
{{- ternary 0 (int .Values.shutdown.delaySeconds) (semverCompare "<1.30-0" .Capabilities.KubeVersion.Version) -}}
{{- end }}

{{/* How replicas reach each other; empty: they do not. */}}
{{- define "rac.peer" -}}
{{- if and .Values.state.redis.url (not .Values.tls.secretName) }}{{ .Values.state.peerAddress }}{{ end -}}
{{- end }}

{{/* The Secret with the keys of the bucket; empty: a role has them. */}}
{{- define "rac.s3.secret" -}}
{{- with .Values.blobs.s3 -}}
{{- if and .accessKeyId .secretName }}{{ fail "blobs.s3: either accessKeyId or secretName" }}{{ end -}}
{{- if ne (empty .accessKeyId) (empty .secretAccessKey) }}{{ fail "blobs.s3: accessKeyId and secretAccessKey go together" }}{{ end -}}
{{- if and (or .accessKeyId .secretName) (not .url) }}{{ fail "blobs.s3.url: the bucket that the keys are for" }}{{ end -}}
{{- ternary (printf "%s-s3" (include "rac.name" $)) .secretName (ne .accessKeyId "") -}}
{{- end -}}
{{- end }}

{{/* The port of its endpoint, if it says one. */}}
{{- define "rac.s3.port" -}}
{{- regexReplaceAll "^.*[?&]endpoint=https?(:|%3A)(//|%2F%2F)([^&/%]|%3A)*?(:|%3A)([0-9]+)([&/%].*)?$" .Values.blobs.s3.url "${5}" | regexFind "^[0-9]+$" -}}
{{- end }}

{{/* The ports in a URL's authority, as a JSON list: (dict "url" … "default" 6379). */}}
{{- define "rac.ports" -}}
{{- $hosts := regexReplaceAll "^[a-z0-9+]+://([^@/?]*@)?([^/?]*).*$" .url "${2}" -}}
{{- $ports := list -}}
{{- range splitList "," $hosts -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default ($.default | toString) | int) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end }}

{{- define "rac.redis.ports" -}}
{{- $url := .Values.state.redis.url }}
{{- if hasPrefix "redis://" $url }}
{{- range include "rac.ports" (dict "url" $url "default" 6379) | fromJsonArray }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- else if hasPrefix "redis+sentinel://" $url }}
{{- range append (include "rac.ports" (dict "url" $url "default" 26379) | fromJsonArray) 6379 }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "rac.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.deployment.storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources: {requests: {storage: {{ .Values.deployment.size }}}}
{{- end }}

{{/* Values that do not go together. */}}
{{- define "rac.check" -}}
{{- $d := .Values.deployment -}}
{{- $shared := ne .Values.state.redis.url "" -}}
{{- if and (or .Values.state.redis.password .Values.state.redis.secretName) (not $shared) -}}
{{ fail "state.redis.url: where the Redis is that the password is for" }}
{{- end -}}
{{- if and (regexMatch "^[a-z+]+://[^@/]+@" .Values.state.redis.url) (not (include "rac.redis.secret" .)) -}}
{{ fail "state.redis: a user needs a password: secretName or password" }}
{{- end -}}
{{- if eq .Values.mode "deployment" -}}
{{- if and (gt (int $d.replicas) 1) (not $shared) -}}
{{ fail (printf "deployment.replicas: %d would not know of each other's tokens and images; state.redis.url names the Redis that they share" (int $d.replicas)) }}
{{- end -}}
{{- if and $d.autoscaling.enabled (not $shared) -}}
{{ fail "deployment.autoscaling: several replicas need state.redis.url, the Redis that they share" }}
{{- end -}}
{{- if and $d.autoscaling.enabled (gt (int $d.autoscaling.minReplicas) (int $d.autoscaling.maxReplicas)) -}}
{{ fail "deployment.autoscaling: minReplicas is more than maxReplicas" }}
{{- end -}}
{{- if and $d.autoscaling.enabled (not (dig "requests" "cpu" "" .Values.resources)) -}}
{{ fail "deployment.autoscaling: resources.requests.cpu is what cpuPercent is a part of" }}
{{- end -}}
{{- if and $shared $d.existingClaim -}}
{{ fail "deployment.existingClaim: a volume is of one proxy, and replicas (state.redis) have one each" }}
{{- end -}}
{{- if and (eq $d.volume "emptyDir") (not $shared) -}}
{{ fail "deployment.volume: a proxy that keeps its state itself needs a claim, since container tokens are in it" }}
{{- end -}}
{{- if and (eq $d.volume "emptyDir") (not (hasKey .Values.config "cache.size")) -}}
{{ fail "deployment.volume: of a node's disk, say config.cache.size, less than deployment.size: the node throws out pods that take more" }}
{{- end -}}
{{- end -}}
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
