{{- /* The names are fixed: the operator looks for its lease and its keyring by them, and one installation serves a cluster,
since there is one status to write. docs/adr/0024 says why. */ -}}

{{- define "oauth-operator.commonLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: oauth-operator
{{- end }}

{{- define "oauth-operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* manifests writes the manifests of a file of files/, which is a copy of one in config/: `make generate` sees to that. The
namespace of the release takes the place of the one that is written there. In: root, path, and annotations to add. */ -}}
{{- define "oauth-operator.manifests" -}}
{{- range (include "oauth-operator.read" (dict "root" .root "path" .path) | fromYamlArray) }}
---
{{ include "oauth-operator.mark" (dict "root" $.root "object" . "annotations" $.annotations) }}
{{- end }}
{{- end }}

{{- /* read gives the manifests of a file of files/ as a list. */ -}}
{{- define "oauth-operator.read" -}}
{{- $text := .root.Files.Get .path }}
{{- if not $text }}{{ fail (printf "the chart has no %s: it was not packed as a whole" .path) }}{{ end }}
{{- $objects := list }}
{{- range regexSplit "(?m)^---$" ($text | replace "oauth-operator-system" .root.Release.Namespace) -1 }}
{{- $object := fromYaml . }}
{{- if $object }}
{{- if not $object.kind }}{{ fail (printf "%s cannot be read: %v" $.path $object) }}{{ end }}
{{- $objects = append $objects $object }}
{{- end }}
{{- end }}
{{- toYaml $objects }}
{{- end }}

{{- /* mark writes an object, with the labels of the release and further annotations. */ -}}
{{- define "oauth-operator.mark" -}}
{{- $metadata := .object.metadata }}
{{- $labels := merge (dict) ($metadata.labels | default dict) (include "oauth-operator.commonLabels" .root | fromYaml) }}
{{- $_ := set $metadata "labels" $labels }}
{{- with .annotations }}
{{- $_ := set $metadata "annotations" (merge (dict) . ($metadata.annotations | default dict)) }}
{{- end }}
{{- toYaml .object }}
{{- end }}

{{- /* What restricted pods have to say of themselves. */ -}}
{{- define "oauth-operator.podSecurity" -}}
runAsNonRoot: true
{{- if .Values.runAsImageUser }}
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "oauth-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Where pods go. In: root, name. */ -}}
{{- define "oauth-operator.placement" -}}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- with .root.Values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      app.kubernetes.io/name: {{ .name }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
