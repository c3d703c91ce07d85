{{- /* The names are fixed: the operator looks for its lease and its keyring by them, and one installation serves a cluster,
since there is one status to write. docs/adr/0024 says why. */ -}}

{{- /* What every object bears, besides what it is: the labels of the release, which no value takes the place of. */ -}}
{{- define "oauth-operator.commonLabels" -}}
{{- $ours := dict
  "app.kubernetes.io/instance" .Release.Name
  "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/part-of" "oauth-operator"
}}
{{- toYaml (merge (dict) $ours (.Values.commonLabels | default dict)) }}
{{- end }}

{{- /* metadata writes that of an object in the namespace of the release. In: root, name; part, which is whose it is, if that is not
its name; labels and annotations to add. */ -}}
{{- define "oauth-operator.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- $whose := dict "app.kubernetes.io/name" (.part | default .name) }}
  {{- toYaml (merge (dict) $whose (include "oauth-operator.commonLabels" .root | fromYaml) (.labels | default dict)) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* podMetadata writes that of a pod. Selectors go by its name, so no value takes the place of that. In: root, name. */ -}}
{{- define "oauth-operator.podMetadata" -}}
labels:
  {{- $values := .root.Values }}
  {{- toYaml (merge (dict "app.kubernetes.io/name" .name) ($values.podLabels | default dict) ($values.commonLabels | default dict)) | nindent 2 }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
{{- with merge (dict) (.annotations | default dict) ($metadata.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
{{- $_ := set $metadata "annotations" . }}
{{- end }}
{{- toYaml .object }}
{{- end }}

{{- /* How a Deployment goes from one version to the next. */ -}}
{{- define "oauth-operator.rollout" -}}
revisionHistoryLimit: {{ int64 .Values.revisionHistoryLimit }}
{{- with .Values.strategy }}
strategy: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* environment writes the variables of all containers: how much memory they may use, of which the Go runtime takes nine
tenths, and what the values add. */ -}}
{{- define "oauth-operator.environment" -}}
- name: MEMORY_LIMIT
  valueFrom:
    resourceFieldRef:
      resource: limits.memory
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* families writes which addresses a Service has. */ -}}
{{- define "oauth-operator.families" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies: {{- toYaml . | nindent 0 }}
{{- end }}
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
{{- $itself := dict "labelSelector" (dict "matchLabels" (dict "app.kubernetes.io/name" .name)) }}
{{- $usual := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" }}
topologySpreadConstraints:
{{- range .root.Values.topologySpreadConstraints | default (list $usual) }}
{{- /* Without a selector it is about the pod's own kind. */}}
- {{ toYaml (ternary . (merge (dict) . $itself) (hasKey . "labelSelector")) | indent 2 | trim }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
