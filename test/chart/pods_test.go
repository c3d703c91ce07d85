package chart_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// Whatever the values say, pods write to no disk but the journal's, and have no more rights than they need.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	for _, values := range []string{"testdata/everything.yaml", "testdata/least.yaml"} {
		all := parse(t, render(t, home, "--values="+values))
		for _, name := range []string{operatorName, consentName} {
			t.Run(values+", "+name, func(t *testing.T) {
				t.Parallel()
				restricted(t, into[appsv1.Deployment](t, all, "Deployment "+home+"/"+name).Spec.Template.Spec, !strings.Contains(values, "least"))
			})
		}
		operator := into[appsv1.Deployment](t, all, "Deployment "+home+"/"+operatorName).Spec.Template.Spec
		if *operator.TerminationGracePeriodSeconds < 120 {
			t.Errorf("%s: the operator has %d s to end", values, *operator.TerminationGracePeriodSeconds)
		}
		size := operator.Volumes[0].EmptyDir.SizeLimit
		if requested := operator.Containers[0].Resources.Requests.StorageEphemeral(); requested.Cmp(*size) != 0 || size.Cmp(resource.MustParse("192Mi")) <= 0 {
			t.Errorf("%s: the journal may have %s, and %s are requested", values, size, requested)
		}
	}
}

// restricted looks at a pod, which runs as the image's user or as whom the cluster assigns.
func restricted(t *testing.T, pod corev1.PodSpec, asImageUser bool) {
	t.Helper()
	container := pod.Containers[0]
	want := &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if diff := cmp.Diff(want, container.SecurityContext); diff != "" {
		t.Errorf("the container's security context:\n%s", diff)
	}
	wantPod := &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if asImageUser {
		wantPod.RunAsUser, wantPod.RunAsGroup, wantPod.FSGroup = ptr.To[int64](65532), ptr.To[int64](65532), ptr.To[int64](65532)
	}
	if diff := cmp.Diff(wantPod, pod.SecurityContext); diff != "" {
		t.Errorf("the pod's security context:\n%s", diff)
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 || len(pod.Volumes) != 1 || len(container.VolumeMounts) != 1 || pod.HostNetwork || pod.HostPID {
		t.Errorf("it has more than one container with one volume: %v", pod)
	}
}

// What the values say of pods is said of those of the operator and of the pages.
func TestPodsArePlacedAsTheValuesSay(t *testing.T) {
	t.Parallel()
	all := parse(t, render(t, home, "--values=testdata/everything.yaml"))
	for name, replicas := range map[string]int32{operatorName: 3, consentName: 3} {
		deployment := into[appsv1.Deployment](t, all, "Deployment "+home+"/"+name)
		pod := deployment.Spec.Template
		image := "registry.example/oauth-operator@sha256:" + strings.Repeat("0", 64)
		if *deployment.Spec.Replicas != replicas || pod.Spec.Containers[0].Image != image || pod.Spec.PriorityClassName != "system-cluster-critical" ||
			pod.Spec.NodeSelector["kubernetes.io/os"] != "linux" || len(pod.Spec.Tolerations) != 1 || pod.Spec.Affinity.NodeAffinity == nil ||
			pod.Spec.TopologySpreadConstraints[0].TopologyKey != "topology.kubernetes.io/zone" || pod.Spec.ImagePullSecrets[0].Name != "registry" ||
			pod.Annotations["example.com/team"] != "platform" || pod.Labels["app.kubernetes.io/part-of"] != "oauth-operator" {
			t.Errorf("%s: %+v", name, pod)
		}
		budget := into[policyv1.PodDisruptionBudget](t, all, "PodDisruptionBudget "+home+"/"+name)
		if budget.Spec.MaxUnavailable.IntValue() != 1 || !selects(budget.Spec.Selector.MatchLabels, pod.Labels) || !selects(deployment.Spec.Selector.MatchLabels, pod.Labels) {
			t.Errorf("%s: %+v", name, budget.Spec)
		}
	}
	spread := into[appsv1.Deployment](t, parse(t, render(t, home)), "Deployment "+home+"/"+operatorName).Spec.Template
	if constraint := spread.Spec.TopologySpreadConstraints[0]; constraint.WhenUnsatisfiable != corev1.ScheduleAnyway || !selects(constraint.LabelSelector.MatchLabels, spread.Labels) {
		t.Errorf("replicas are spread by %+v", constraint)
	}
}

func hasPort(container corev1.Container, name string) bool {
	return slices.ContainsFunc(container.Ports, func(port corev1.ContainerPort) bool { return port.Name == name })
}

func selects(selector, labels map[string]string) bool {
	for name, value := range selector {
		if labels[name] != value {
			return false
		}
	}
	return len(selector) > 0
}

// Every flag that the operator has is set by the chart, or can be set by a value.
func TestEveryFlagCanBeSet(t *testing.T) {
	t.Parallel()
	operator := stagetest.Operator(t)
	all := parse(t, render(t, home, "--values=testdata/everything.yaml"))
	set := map[string]bool{
		// The pod knows the one and needs no other; the rest is for people, and for a process that is not in a cluster.
		"namespace": true, "kubeconfig": true, "version": true,
		// The environment says it.
		"consent-url": true,
	}
	for _, name := range []string{operatorName, consentName} {
		for _, argument := range into[appsv1.Deployment](t, all, "Deployment "+home+"/"+name).Spec.Template.Spec.Containers[0].Args {
			flag, _, _ := strings.Cut(strings.TrimPrefix(argument, "--"), "=")
			set[flag] = true
		}
	}
	usage, err := exec.CommandContext(t.Context(), operator, "-h").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`(?m)^ {2}-([a-z-]+)`).FindAllStringSubmatch(string(usage), -1)
	if len(known) < 10 {
		t.Fatalf("the operator tells of no flags: %s", usage)
	}
	exists := map[string]bool{}
	for _, flag := range known {
		exists[flag[1]] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(exists)), slices.Sorted(maps.Keys(set))); diff != "" {
		t.Errorf("flags of the operator (-), and what the chart sets (+):\n%s", diff)
	}
}

// The metrics are for whom the values name, the pages reach the API server alone.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	closed := parse(t, render(t, home, "--set=consent.url=https://oauth.example.com"))
	operator := into[networkingv1.NetworkPolicy](t, closed, "NetworkPolicy "+home+"/"+operatorName).Spec
	if len(operator.PolicyTypes) != 2 || len(operator.Ingress) != 0 || len(operator.Egress) != 1 || len(operator.Egress[0].To)+len(operator.Egress[0].Ports) != 0 {
		t.Errorf("by default nobody reaches the operator, and it reaches everything: %+v", operator)
	}
	pages := into[networkingv1.NetworkPolicy](t, closed, "NetworkPolicy "+home+"/"+consentName).Spec
	if len(pages.PolicyTypes) != 2 || len(pages.Ingress) != 1 || len(pages.Ingress[0].From) != 0 || pages.Ingress[0].Ports[0].Port.StrVal != "pages" ||
		len(pages.Egress) != 1 || len(pages.Egress[0].Ports) != 2 {
		t.Errorf("by default everybody reaches the pages, and they reach the API server's ports: %+v", pages)
	}
	bounded := parse(t, render(t, home, "--values=testdata/everything.yaml"))
	operator = into[networkingv1.NetworkPolicy](t, bounded, "NetworkPolicy "+home+"/"+operatorName).Spec
	if operator.Ingress[0].From[0].NamespaceSelector == nil || operator.Ingress[0].Ports[0].Port.StrVal != "metrics" || len(operator.Egress[0].Ports) != 2 {
		t.Errorf("%+v", operator)
	}
	pages = into[networkingv1.NetworkPolicy](t, bounded, "NetworkPolicy "+home+"/"+consentName).Spec
	if len(pages.Ingress) != 2 || pages.Ingress[1].From[0].NamespaceSelector == nil || len(pages.Ingress[1].Ports) != 1 || pages.Ingress[1].Ports[0].Port.StrVal != "metrics" {
		t.Errorf("who is named reads the metrics of the pages: %+v", pages.Ingress)
	}
	if pages.Ingress[0].From[0].NamespaceSelector == nil || len(pages.Egress[0].To) != 2 || pages.Egress[0].To[0].IPBlock.CIDR != "10.96.0.1/32" || pages.Egress[0].Ports[0].Port.IntVal != 6443 {
		t.Errorf("%+v", pages)
	}
	for name, spec := range map[string]networkingv1.NetworkPolicySpec{operatorName: operator, consentName: pages} {
		if labels := into[appsv1.Deployment](t, bounded, "Deployment "+home+"/"+name).Spec.Template.Labels; !selects(spec.PodSelector.MatchLabels, labels) {
			t.Errorf("the policy of %s is not for its pods", name)
		}
	}
}

// Host and path of Ingress and HTTPRoute are those of the public URL.
func TestTheWayToThePages(t *testing.T) {
	t.Parallel()
	for url, want := range map[string][2]string{
		"https://oauth.example.com":          {"oauth.example.com", "/"},
		"https://oauth.example.com:8443":     {"oauth.example.com", "/"},
		"https://example.com/platform/oauth": {"example.com", "/platform/oauth"},
	} {
		all := parse(t, render(t, home, "--values=testdata/everything.yaml", "--set=consent.url="+url))
		ingress := into[networkingv1.Ingress](t, all, "Ingress "+home+"/"+consentName).Spec
		path := ingress.Rules[0].HTTP.Paths[0]
		if got := [2]string{ingress.Rules[0].Host, path.Path}; got != want || ingress.TLS[0].Hosts[0] != want[0] || *ingress.IngressClassName != "nginx" {
			t.Errorf("the Ingress for %s leads from %v: %+v", url, got, ingress)
		}
		service := into[corev1.Service](t, all, "Service "+home+"/"+path.Backend.Service.Name)
		if service.Spec.Ports[0].Name != path.Backend.Service.Port.Name {
			t.Errorf("the Ingress leads to the port %v of %v", path.Backend.Service.Port, service.Spec.Ports)
		}
		route := all["HTTPRoute "+home+"/"+consentName].Object
		text := strings.Join(strings.Fields(toYAML(t, route["spec"])), " ")
		for _, wanted := range []string{"hostnames: - " + want[0], "type: PathPrefix value: " + want[1], "name: " + consentName + " port: 80", "name: public namespace: gateways"} {
			if !strings.Contains(text, wanted) {
				t.Errorf("the HTTPRoute for %s has no %q: %s", url, wanted, text)
			}
		}
	}
}

// Kinds that the API server of the tests does not know are of the form that their own projects have. Alerts and dashboards are
// files of the chart.
func TestKindsOfOthers(t *testing.T) {
	t.Parallel()
	strict := program(t, "strict")
	chart := filepath.Join(t.TempDir(), "oauth-operator")
	if err := os.CopyFS(chart, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(chart, "files", "rules", "test.yaml"),
		"groups:\n- name: test\n  rules:\n  - {alert: Test, expr: up == 0, annotations: {summary: '{{ $labels.name }} is down'}}\n")
	write(t, filepath.Join(chart, "files", "dashboards", "test.json"), `{"title": "{{ legend }}"}`+"\n")
	rendered := mustRun(t, program(t, "helm"), "template", "tokens", chart, "--namespace="+home, "--values=testdata/everything.yaml",
		"--set=prometheusRule.enabled=true,dashboard.enabled=true")
	looked, err := run(t, []byte(rendered), strict)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"HTTPRoute " + consentName, "ServiceMonitor oauth-operator", "PrometheusRule oauth-operator-test"} {
		if !strings.Contains(looked, want+"\n") {
			t.Errorf("nobody looked at %s: %s", want, looked)
		}
	}
	all := parse(t, rendered)
	if dashboard := into[corev1.ConfigMap](t, all, "ConfigMap "+home+"/oauth-operator-dashboard-test"); dashboard.Data["test.json"] != `{"title": "{{ legend }}"}`+"\n" || dashboard.Labels["grafana_dashboard"] != "1" {
		t.Errorf("the dashboard is %v", dashboard)
	}
	if text := toYAML(t, all["PrometheusRule "+home+"/oauth-operator-test"].Object); !strings.Contains(text, "{{ $labels.name }} is down") {
		t.Errorf("the alert lost what Prometheus fills in: %s", text)
	}
	for _, name := range []string{operatorName, consentName} {
		monitor := strings.Join(strings.Fields(toYAML(t, all["ServiceMonitor "+home+"/"+name].Object["spec"])), " ")
		service := into[corev1.Service](t, all, "Service "+home+"/"+name+"-metrics")
		if !strings.Contains(monitor, "port: "+service.Spec.Ports[0].Name) || !strings.Contains(monitor, "app.kubernetes.io/name: "+name) ||
			!selects(map[string]string{"app.kubernetes.io/name": name}, service.Labels) {
			t.Errorf("the ServiceMonitor does not find the Service: %s, %v", monitor, service)
		}
		pod := into[appsv1.Deployment](t, all, "Deployment "+home+"/"+name).Spec.Template
		if !selects(service.Spec.Selector, pod.Labels) || !hasPort(pod.Spec.Containers[0], service.Spec.Ports[0].TargetPort.StrVal) {
			t.Errorf("the Service does not find the pods: %+v", service.Spec)
		}
	}
	// Where browsers are led there is one port, that of the pages.
	if public := into[corev1.Service](t, all, "Service "+home+"/"+consentName).Spec; len(public.Ports) != 1 || public.Ports[0].TargetPort.StrVal != "pages" {
		t.Errorf("browsers are led to %+v", public.Ports)
	}
	if _, err := run(t, []byte(strings.Replace(rendered, "parentRefs:", "parentReferences:", 1)), strict); err == nil || !strings.Contains(err.Error(), "parentReferences") {
		t.Errorf("a field that an HTTPRoute does not have was taken: %v", err)
	}
}

// Where namespaces are named, the operator has what its ClusterRole has in these, and of the cluster it reads the list of
// namespaces.
func TestRolesOfNamedNamespaces(t *testing.T) {
	t.Parallel()
	all := parse(t, render(t, home, "--values=testdata/everything.yaml"))
	everywhere := parse(t, render(t, home, "--set=consent.url=https://oauth.example.com"))
	for _, name := range []string{operatorName, consentName} {
		whole := into[rbacv1.ClusterRole](t, everywhere, "ClusterRole "+name).Rules
		for _, namespace := range []string{"shop", "billing"} {
			divided(t, all, namespace, name, whole)
		}
	}
	for key, object := range all {
		switch kind := object.GetKind(); {
		case kind == "ClusterRole" && !strings.HasPrefix(object.GetName(), "oauth-operator-"):
			rules := into[rbacv1.ClusterRole](t, all, key).Rules
			if len(rules) != 1 || !slices.Equal(rules[0].Resources, []string{"namespaces"}) || !slices.Equal(rules[0].Verbs, []string{"get", "list", "watch"}) {
				t.Errorf("%s: %v", key, rules)
			}
		case kind == "ClusterRoleBinding" && object.GetName() != operatorName:
			t.Errorf("there is a %s", key)
		}
	}
	arguments := into[appsv1.Deployment](t, all, "Deployment "+home+"/"+operatorName).Spec.Template.Spec.Containers[0].Args
	if !slices.Contains(arguments, "--watch-namespaces=shop,billing") {
		t.Errorf("the operator is not told: %v", arguments)
	}
}

// divided compares the rules of a Role, and of the ClusterRole that is left, with those of the ClusterRole that they were one of.
func divided(t *testing.T, all objects, namespace, name string, whole []rbacv1.PolicyRule) {
	t.Helper()
	key := namespace + "/" + name
	parts := into[rbacv1.Role](t, all, "Role "+key).Rules
	if all["ClusterRole "+name] != nil {
		parts = append(parts, into[rbacv1.ClusterRole](t, all, "ClusterRole "+name).Rules...)
	}
	counted := cmp.Transformer("count", func(rules []rbacv1.PolicyRule) map[string]int {
		count := map[string]int{}
		for _, rule := range rules {
			count[rule.String()]++
		}
		return count
	})
	if diff := cmp.Diff(whole, parts, counted); diff != "" {
		t.Errorf("%s: the ClusterRole (-) and its parts (+):\n%s", key, diff)
	}
	binding := into[rbacv1.RoleBinding](t, all, "RoleBinding "+key)
	want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: home}}
	if diff := cmp.Diff(want, binding.Subjects); diff != "" || binding.RoleRef.Kind != "Role" || binding.RoleRef.Name != name {
		t.Errorf("%s: %v", key, binding)
	}
}
