package monitoring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

// patience is a generous bound for whatever is waited for.
const patience = 90 * time.Second

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// A real Prometheus scrapes the real operator at work, with pages in its process, and pages in a process of their own. It can
// make something of each expression of alerts and dashboard.
func TestPrometheusScrapesTheOperator(t *testing.T) {
	t.Parallel()
	binary := program(t, "prometheus")
	stagetest.Assets(t)
	played, operator, accounts := play(t)
	pages := serve(t, played)
	server := startPrometheus(t, played, binary, operator.MetricsURL, pages.MetricsURL)
	server.eventually(t, fmt.Sprintf(`sum(oauth_operator_accounts{condition="Ready",status="True"}) == %d`, accounts))
	server.eventually(t, `sum(oauth_operator_token_requests_total{outcome="ok"}) > 0`)
	server.eventually(t, `sum(leader_election_master_status{name="oauth-operator"}) == 1`)
	server.eventually(t, `oauth_operator_keyring_usable == 1 and on (instance) oauth_operator_build_info{revision!="",goversion=~"go.+"}`)

	server.eventually(t, `sum(oauth_operator_consent_requests_total{answer="nothing"}) == 1 and sum(oauth_operator_consent_requests_total) == 1`)
	server.eventually(t, `count(oauth_operator_consent_build_info{revision!="",goversion=~"go.+"}) == 2`)
	server.eventually(t, `min(oauth_operator_consent_keys_usable) == 1 and max(time() - oauth_operator_consent_keys_read_timestamp_seconds) < 60`)
	server.eventually(t, `count(process_resident_memory_bytes) == 2 and max(oauth_operator_consent_pages_expected) == 1`)

	for _, expr := range expressions(t) {
		if _, err := server.query(t.Context(), expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
	ours := declared(t)
	for _, name := range named(t) {
		if found, err := server.query(t.Context(), "count("+name+")"); err != nil || !found && !slices.Contains(ours, name) {
			t.Errorf("a process at work has no metric %s (%v)", name, err)
		}
	}
	server.rulesAreQuiet(t)
	lint(t, operator.MetricsURL)
	lint(t, pages.MetricsURL)
}

// serve has a process of the pages' own answer a stranger.
func serve(t *testing.T, played *stage.Stage) *stage.Operator {
	t.Helper()
	if err := played.InstallConsent(t.Context()); err != nil {
		t.Fatal(err)
	}
	pages, err := played.StartPages(t.Context(), stage.PagesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, argument := range pages.Args {
		address, is := strings.CutPrefix(argument, "--consent-bind-address=")
		if !is {
			continue
		}
		if text, err := fetch(t.Context(), "http://"+address+"/metrics"); err == nil || strings.Contains(string(text), "oauth_operator_") {
			t.Errorf("whoever comes to the pages reads the metrics: %s", text)
		}
	}
	return pages
}

// play has the operator serve the samples, and tells how many accounts they have.
func play(t *testing.T) (*stage.Stage, *stage.Operator, int) {
	t.Helper()
	played := stagetest.Play(t, stage.Options{Consent: true})
	samples, err := played.ApplySamples(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	operator, err := played.StartOperator(t.Context(), stage.OperatorOptions{Pages: true})
	if err != nil {
		t.Fatal(err)
	}
	return played, operator, len(samples)
}

// lint has promtool look at our own metrics as they are scraped. Those of libraries are theirs to name.
func lint(t *testing.T, metricsURL string) {
	t.Helper()
	text, err := fetch(t.Context(), metricsURL)
	if err != nil {
		t.Fatal(err)
	}
	var ours strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "oauth_operator_") {
			ours.WriteString(line)
		}
	}
	command := exec.CommandContext(t.Context(), program(t, "promtool"), "check", "metrics")
	command.Stdin = strings.NewReader(ours.String())
	if output, err := command.CombinedOutput(); err != nil || len(bytes.TrimSpace(output)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, output)
	}
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, text)
	}
	return text, err
}

// prometheus is the URL of a server that runs.
type prometheus string

func startPrometheus(t *testing.T, played *stage.Stage, binary string, metricsURLs ...string) prometheus {
	t.Helper()
	var targets []string
	for _, each := range metricsURLs {
		target, err := url.Parse(each)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target.Host)
	}
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(played.Dir, "prometheus.yaml")
	text := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n"+
		"scrape_configs: [{job_name: oauth-operator, static_configs: [{targets: [%s]}]}]\n", rules, strings.Join(targets, ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = played.Run(t.Context(), stage.Program{Name: "prometheus", Path: binary, Args: []string{
		"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(played.Dir, "prometheus"), "--web.listen-address=" + address,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return prometheus("http://" + address)
}

// query tells whether an expression brings anything.
func (p prometheus) query(ctx context.Context, expr string) (found bool, err error) {
	text, err := fetch(ctx, string(p)+"/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return false, err
	}
	var answer struct {
		Data struct {
			Result []any `json:"result"`
		} `json:"data"`
	}
	err = json.Unmarshal(text, &answer)
	return len(answer.Data.Result) > 0, err
}

func (p prometheus) eventually(t *testing.T, expr string) {
	t.Helper()
	stagetest.Within(t, patience, expr, func(ctx context.Context) error {
		found, err := p.query(ctx, expr)
		if err == nil && !found {
			err = fmt.Errorf("nothing yet")
		}
		return err
	})
}

// rulesAreQuiet waits until each rule was evaluated without an error, and none of them sees anything in an operator that is well.
func (p prometheus) rulesAreQuiet(t *testing.T) {
	t.Helper()
	stagetest.Within(t, patience, "quiet rules", func(ctx context.Context) error {
		text, err := fetch(ctx, string(p)+"/api/v1/rules")
		if err != nil {
			return err
		}
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct {
						Name      string `json:"name"`
						Health    string `json:"health"`
						State     string `json:"state"`
						LastError string `json:"lastError"`
					} `json:"rules"`
				} `json:"groups"`
			} `json:"data"`
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return err
		}
		seen := 0
		for _, group := range answer.Data.Groups {
			for _, rule := range group.Rules {
				seen++
				if rule.Health != "ok" || rule.State != "inactive" {
					return fmt.Errorf("%+v", rule)
				}
			}
		}
		if want := len(alerts(t)); seen != want {
			return fmt.Errorf("%d of %d rules", seen, want)
		}
		return nil
	})
}
