{{/* The start of every name: the release's, with the chart's where the release's does not contain it. */}}
{{- define "fleetform.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 42 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. Takes a dict of root and component. */}}
{{- define "fleetform.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: fleetform
{{ include "fleetform.selector" . }}
{{- end -}}

{{/* Labels that find the pods of a component. Takes a dict of root and component. */}}
{{- define "fleetform.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Takes a dict of root and image. */}}
{{- define "fleetform.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a pod. */}}
{{- define "fleetform.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* What the restricted Pod Security Standard asks of a container, and a file system that nothing is written to. */}}
{{- define "fleetform.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The names of a Service inside the cluster, as a JSON list. Takes a dict of root and service. */}}
{{- define "fleetform.serviceNames" -}}
{{- $name := printf "%s-%s" (include "fleetform.fullname" .root) .service -}}
{{- $namespace := .root.Release.Namespace -}}
{{- list $name (printf "%s.%s" $name $namespace) (printf "%s.%s.svc" $name $namespace) (printf "%s.%s.svc.cluster.local" $name $namespace) | toJson -}}
{{- end -}}

{{/* The address that devices dial. */}}
{{- define "fleetform.gatewayUrl" -}}
{{- default (printf "https://%s-gateway.%s.svc:%v" (include "fleetform.fullname" .) .Release.Namespace .Values.gateway.service.port) .Values.gateway.url -}}
{{- end -}}

{{/* Where people reach the portal. */}}
{{- define "fleetform.portalUrl" -}}
{{- default (printf "https://%s-portal.%s.svc:%v" (include "fleetform.fullname" .) .Release.Namespace .Values.portal.service.port) .Values.portal.url -}}
{{- end -}}

{{/* Where events go, as the operator reads it; nothing when they go to standard output. */}}
{{- define "fleetform.eventSinks" -}}
{{- $events := .Values.operator.events -}}
{{- if $events.sinks -}}
{{- $list := dict "sinks" $events.sinks -}}
{{- with $events.deadLetters }}{{ $list = set $list "deadLetters" . }}{{ end -}}
{{- toYaml $list -}}
{{- else if $events.existingClaim -}}
{{- toYaml (dict "sinks" (list (dict "name" "file" "jsonLines" (dict "path" "/var/lib/fleetform/events/events.jsonl")))) -}}
{{- end -}}
{{- end -}}

{{/* User name of the operator. */}}
{{- define "fleetform.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "fleetform.fullname" . }}-operator
{{- end -}}

{{/* A CEL list of the users that are operators: this installation's and the others' of the cluster. */}}
{{- define "fleetform.operatorUsers" -}}
{{ prepend .Values.policies.otherOperators (include "fleetform.operatorUser" .) | toJson | replace "\"" "'" }}
{{- end -}}

{{/* What the names of the ClusterRoles of people begin with, and of the policies that guard them: this installation's, or that of the one
that has installed them. */}}
{{- define "fleetform.rolePrefix" -}}
{{- if and .Values.roles.install .Values.roles.prefix -}}
{{- fail "roles.prefix names the ClusterRoles of another installation: set roles.install to false, or leave roles.prefix out" -}}
{{- end -}}
{{- default (include "fleetform.fullname" .) .Values.roles.prefix -}}
{{- end -}}

{{/* A CEL map from the roles of AdminUsers to the names of their ClusterRoles. */}}
{{- define "fleetform.clusterRoles" -}}
{{- $name := include "fleetform.rolePrefix" . -}}
{'Admin': '{{ $name }}-full-access', 'Technician': '{{ $name }}-technician', 'Viewer': '{{ $name }}-read-only', 'Installer': '{{ $name }}-installer'}
{{- end -}}

{{/* The names of these ClusterRoles, as a YAML list. */}}
{{- define "fleetform.clusterRoleNames" -}}
{{- $name := include "fleetform.rolePrefix" . -}}
[{{ range $at, $role := list "full-access" "technician" "read-only" "installer" }}{{ if $at }}, {{ end }}{{ $name }}-{{ $role }}{{ end }}]
{{- end -}}

{{/* The names of all ClusterRoles that the operator binds: these, and those that let people write at a site. */}}
{{- define "fleetform.boundRoleNames" -}}
{{- $name := include "fleetform.rolePrefix" . -}}
[{{ range $at, $role := list "full-access" "technician" "read-only" "installer" "site-admin" "site-technician" }}{{ if $at }}, {{ end }}{{ $name }}-{{ $role }}{{ end }}]
{{- end -}}

{{/* The rights to one site that the operator gives, as `resource:verb`. */}}
{{- define "fleetform.siteRights" -}}
{{- list "sites:use" "sites:bind" "sites/alerts:use" "sites/activationqrcode:create" "sites/devices:get" "sites/address:get" "sites/objects:get" "sites/configuration:get" "sites/measurements:get" "sites/invitation:get" | toJson -}}
{{- end -}}
