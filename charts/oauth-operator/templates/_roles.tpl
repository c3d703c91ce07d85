{{- /* roles writes what a file of files/rbac has: ServiceAccount, ClusterRole and ClusterRoleBinding. Where namespaces are
named, the rules of the ClusterRole become Roles of these namespaces, but for what is no resource of a namespace. */ -}}
{{- define "oauth-operator.roles" -}}
{{- $root := .root }}
{{- range (include "oauth-operator.read" . | fromYamlArray) }}
{{- if or (not $root.Values.watchNamespaces) (not (hasPrefix "ClusterRole" .kind)) }}
---
{{ include "oauth-operator.mark" (dict "root" $root "object" .) }}
{{- else if eq .kind "ClusterRole" }}
{{- include "oauth-operator.splitRole" (dict "root" $root "role" .) }}
{{- else }}
{{- include "oauth-operator.splitBinding" (dict "root" $root "binding" .) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* isOfCluster says whether a rule speaks of what belongs to no namespace. */ -}}
{{- define "oauth-operator.isOfCluster" -}}
{{- if and (eq (len .resources) 1) (has "namespaces" .resources) }}true{{ end -}}
{{- end }}

{{- define "oauth-operator.splitRole" -}}
{{- $ofCluster := list }}
{{- $ofNamespace := list }}
{{- range .role.rules }}
{{- if include "oauth-operator.isOfCluster" . }}{{ $ofCluster = append $ofCluster . }}{{ else }}{{ $ofNamespace = append $ofNamespace . }}{{ end }}
{{- end }}
{{- if $ofCluster }}
---
{{ include "oauth-operator.mark" (dict "root" .root "object" (merge (dict "rules" $ofCluster) (deepCopy .role))) }}
{{- end }}
{{- range .root.Values.watchNamespaces }}
---
{{ include "oauth-operator.mark" (dict "root" $.root "object" (dict
  "apiVersion" $.role.apiVersion "kind" "Role" "metadata" (dict "name" $.role.metadata.name "namespace" .) "rules" $ofNamespace)) }}
{{- end }}
{{- end }}

{{- define "oauth-operator.splitBinding" -}}
{{- /* The pages read no namespaces, so they have no ClusterRole to be bound to. */ -}}
{{- if eq .binding.metadata.name "oauth-operator" }}
---
{{ include "oauth-operator.mark" (dict "root" .root "object" (deepCopy .binding)) }}
{{- end }}
{{- range .root.Values.watchNamespaces }}
---
{{ include "oauth-operator.mark" (dict "root" $.root "object" (dict
  "apiVersion" $.binding.apiVersion "kind" "RoleBinding" "metadata" (dict "name" $.binding.metadata.name "namespace" .)
  "roleRef" (merge (dict "kind" "Role") (deepCopy $.binding.roleRef)) "subjects" $.binding.subjects)) }}
{{- end }}
{{- end }}

{{- define "oauth-operator.homeRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [oauth-operator-keyring, oauth-operator-consent]
  verbs: [get, list, watch, update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
