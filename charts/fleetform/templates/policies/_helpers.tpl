{{/* Metadata of a policy and of its binding. Takes a dict of root and policy. */}}
{{- define "fleetform.policyMetadata" -}}
name: {{ include "fleetform.fullname" .root }}-{{ .policy }}
labels: {{- include "fleetform.labels" (dict "root" .root "component" "policies") | nindent 2 }}
{{- end -}}

{{/* The binding of a policy that has no parameter. Takes a dict of root and policy. */}}
{{- define "fleetform.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{- include "fleetform.policyMetadata" . | nindent 2 }}
spec:
  policyName: {{ include "fleetform.fullname" .root }}-{{ .policy }}
  validationActions: [Deny]
{{- end -}}

{{/* True of controllers of Kubernetes: what they delete or detach follows from a request that was let through, and refusing
it leaves namespaces that never end and objects without owners. */}}
{{- define "fleetform.byControllers" -}}
request.userInfo.username in ['system:serviceaccount:kube-system:namespace-controller', 'system:serviceaccount:kube-system:generic-garbage-collector', 'system:kube-controller-manager']
{{- end -}}

{{/* True where the namespace is going: what is in it may go, or the namespace never ends. Not a matchCondition, as those do
not see the namespace. */}}
{{- define "fleetform.namespaceGoes" -}}
has(namespaceObject.metadata.deletionTimestamp)
{{- end -}}

{{/* CEL that says how many device instances there are. Takes the CEL of the number. */}}
{{- define "fleetform.countDevices" -}}
({{ . }} == 1 ? '1 device instance' : string({{ . }}) + ' device instances')
{{- end -}}
