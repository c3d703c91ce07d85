{{- /* settings writes the flags that the values name. */ -}}
{{- define "oauth-operator.settings" -}}
{{- /* With all its lines commented out, it is nothing at all. */ -}}
{{- $settings := .Values.settings | default dict }}
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
{{- /* As JSON has it: a number of a file would be printed as 1e+06 otherwise. */ -}}
{{- range $value, $flag := $flags }}
{{- if hasKey $settings $value }}
- --{{ $flag }}={{ get $settings $value | toJson | trimAll "\"" }}
{{- end }}
{{- end }}
{{- with $settings.allowCIDRs }}
- --allow-cidrs={{ join "," . }}
{{- end }}
{{- if $settings.insecureAllowLoopback }}
- --insecure-allow-loopback
{{- end }}
{{- end }}
