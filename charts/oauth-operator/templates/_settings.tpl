{{- /* settings writes the flags that the values name. */ -}}
{{- define "oauth-operator.settings" -}}
{{- $flags := dict
  "maxConcurrentReconciles" "max-concurrent-reconciles"
  "maxConcurrentRequests" "max-concurrent-requests"
  "maxConcurrentRequestsPerNamespace" "max-concurrent-requests-per-namespace"
  "maxAccountsPerNamespace" "max-accounts-per-namespace"
  "kubeAPIQPS" "kube-api-qps"
  "kubeAPIBurst" "kube-api-burst"
  "takeoverWait" "takeover-wait"
  "verbosity" "v"
}}
{{- range $value, $flag := $flags }}
{{- if hasKey $.Values.settings $value }}
- --{{ $flag }}={{ get $.Values.settings $value | toString }}
{{- end }}
{{- end }}
{{- with .Values.settings.allowCIDRs }}
- --allow-cidrs={{ join "," . }}
{{- end }}
{{- if .Values.settings.insecureAllowLoopback }}
- --insecure-allow-loopback
{{- end }}
{{- end }}
