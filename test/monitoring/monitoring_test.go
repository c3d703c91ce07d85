// Package monitoring_test tries out what the project ships for those who watch the operator: the alert rules, with promtool, the
// dashboard, and both against a real Prometheus that scrapes the real operator. It must never look into the operator itself.
package monitoring_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	root           = "../.."
	rulesFile      = root + "/charts/oauth-operator/files/rules/alerts.yaml"
	rulesTests     = "alerts.yaml"
	dashboardFile  = root + "/charts/oauth-operator/files/dashboards/overview.json"
	operationsFile = root + "/docs/operations.md"
	runbooks       = "https://github.com/oauth-operator/oauth-operator/blob/main/docs/operations.md#"
)

// program is the path of prometheus or promtool. Tests that need one are skipped where there is none.
func program(t *testing.T, name string) string {
	t.Helper()
	_ = os.Getenv("TEST_INPUTS") // it changes with the files that the program reads
	if path, err := exec.LookPath(filepath.Join(os.Getenv("PROMETHEUS"), name)); err == nil && os.Getenv("PROMETHEUS") != "" {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("there is no %s: run `make prometheus`, and set PROMETHEUS to its folder where make test does not", name)
	}
	return path
}

func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), program(t, "promtool"), arguments...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
}

type ruleGroups struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var groups ruleGroups
	read(t, rulesFile, &groups)
	if len(groups.Groups) != 1 || len(groups.Groups[0].Rules) == 0 {
		t.Fatalf("%s has %d groups", rulesFile, len(groups.Groups))
	}
	return groups.Groups[0].Rules
}

func TestRules(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", rulesFile)
	promtool(t, "test", "rules", rulesTests)
}

// Each alert has a time at which it is quiet, and one at which it fires.
func TestEveryAlertIsTried(t *testing.T) {
	t.Parallel()
	var tests struct {
		Tests []struct {
			Cases []struct {
				Alert  string `json:"alertname"`
				Expect []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	text, err := os.ReadFile(rulesTests)
	if err == nil {
		err = yaml.Unmarshal(text, &tests)
	}
	if err != nil {
		t.Fatal(err)
	}
	quiet, fires := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, each := range test.Cases {
			quiet[each.Alert] = quiet[each.Alert] || len(each.Expect) == 0
			fires[each.Alert] = fires[each.Alert] || len(each.Expect) > 0
		}
	}
	for _, alert := range alerts(t) {
		if !quiet[alert.Alert] || !fires[alert.Alert] {
			t.Errorf("%s: tried quiet: %v, firing: %v", alert.Alert, quiet[alert.Alert], fires[alert.Alert])
		}
	}
}

// Whoever is called finds what to do: the alert's own heading, or that of the reason that it names.
func TestRunbooksExist(t *testing.T) {
	t.Parallel()
	const byReason = "{{ $labels.reason | toLower }}"
	headings := headingsOf(t, operationsFile)
	for _, alert := range alerts(t) {
		anchor, is := strings.CutPrefix(alert.Annotations["runbook_url"], runbooks)
		lower := strings.ToLower(alert.Alert)
		switch {
		case !is:
			t.Errorf("%s leads to %q", alert.Alert, alert.Annotations["runbook_url"])
		case anchor == byReason && !strings.Contains(alert.Expr, "by (reason)"):
			t.Errorf("%s leads to a reason, and tells of none", alert.Alert)
		case anchor != byReason && anchor != lower:
			t.Errorf("%s leads to %s", alert.Alert, anchor)
		case !headings[lower]:
			t.Errorf("%s has no heading for %s", operationsFile, alert.Alert)
		}
		if alert.Annotations["summary"] == "" || alert.Annotations["description"] == "" || !slices.Contains([]string{"critical", "warning", "info"}, alert.Labels["severity"]) {
			t.Errorf("%s says too little: %v %v", alert.Alert, alert.Labels, alert.Annotations)
		}
	}
	for _, reason := range reasons(t) {
		if !headings[strings.ToLower(reason)] {
			t.Errorf("%s has no heading for the reason %s", operationsFile, reason)
		}
	}
}

// headingsOf are the anchors of a document.
func headingsOf(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^#+ (.+)$").FindAllStringSubmatch(string(text), -1) {
		anchor := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(found[1], "`", ""), " ", "-"))
		if anchors[anchor] {
			t.Errorf("%s has two headings #%s: the second has another anchor", path, anchor)
		}
		anchors[anchor] = true
	}
	return anchors
}

// reasons are those that the API declares.
func reasons(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(root + "/api/v1alpha1/conditions.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, found := range regexp.MustCompile(`(?m)^\tReason\w+\s*= "(\w+)"$`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, found[1])
	}
	if len(all) == 0 {
		t.Fatal("the API declares no reasons")
	}
	return all
}

type dashboard struct {
	Title      string  `json:"title"`
	UID        string  `json:"uid"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name string `json:"name"`
			Type string `json:"type"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Datasource  struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	GridPos struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	var read dashboard
	if err == nil {
		err = json.Unmarshal(text, &read)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(read.Panels) == 0 {
		t.Fatalf("%s has no panels", dashboardFile)
	}
	return read
}

// expressions are those of the dashboard, as Grafana sends them.
func expressions(t *testing.T) []string {
	t.Helper()
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$account_namespace", ".*")
	var all []string
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			sent := variables.Replace(target.Expr)
			if strings.Contains(sent, "$") {
				t.Errorf("%s: there is no variable for all of %s", panel.Title, target.Expr)
			}
			all = append(all, sent)
		}
	}
	return all
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	seen, cells := map[int]bool{}, map[[2]int]string{}
	for _, panel := range readDashboard(t).Panels {
		if seen[panel.ID] || panel.Title == "" || panel.Description == "" || panel.Datasource.UID != "${datasource}" || len(panel.Targets) == 0 {
			t.Errorf("panel %d, %q, is not whole, or there twice", panel.ID, panel.Title)
		}
		seen[panel.ID] = true
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q, or beyond the edge", panel.Title, other)
				}
				cells[[2]int{x, y}] = panel.Title
			}
		}
	}
}

// promtool reads expressions in rules alone, so those of the dashboard are given to it as such.
func TestDashboardExpressionsCanBeRead(t *testing.T) {
	t.Parallel()
	var groups ruleGroups
	groups.Groups = append(groups.Groups, struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	}{Name: "dashboard"})
	for i, expr := range expressions(t) {
		groups.Groups[0].Rules = append(groups.Groups[0].Rules, rule{Record: fmt.Sprintf("dashboard:expression:%d", i), Expr: expr})
	}
	text, err := yaml.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "expressions.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}

// metricName is a metric of ours, or of a library's that the operator has.
func metricName() *regexp.Regexp {
	return regexp.MustCompile(`\b(oauth_operator|rest_client|leader_election|workqueue|controller_runtime|process|go)_[a-z_]+`)
}

// named are the metrics that alerts and dashboard name.
func named(t *testing.T) []string {
	t.Helper()
	all := map[string]bool{}
	for _, alert := range alerts(t) {
		for _, name := range metricName().FindAllString(alert.Expr, -1) {
			all[name] = true
		}
	}
	for _, expr := range expressions(t) {
		for _, name := range metricName().FindAllString(expr, -1) {
			all[name] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// declared are the metrics of ours that the sources declare. Some have no series as long as nothing happens.
func declared(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(root + "/internal/*/metrics*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`"(oauth_operator_[a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
			all = append(all, found[1])
		}
	}
	return all
}

func TestOurMetricsExist(t *testing.T) {
	t.Parallel()
	declares := declared(t)
	for _, name := range named(t) {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "oauth_operator_") && !slices.Contains(declares, name) && !slices.Contains(declares, base) {
			t.Errorf("there is no metric %s", name)
		}
	}
}
