package controller_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

func metricsAccount(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "shop", Name: name}
}

// statusSaying is a status whose Ready says this.
func statusSaying(ready metav1.ConditionStatus, reason, message string) *v1alpha1.ConnectedAccountStatus {
	return &v1alpha1.ConnectedAccountStatus{
		ExpirationTime: &metav1.Time{Time: time.Now().Add(time.Hour)},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: ready, Reason: reason, Message: message},
			{Type: v1alpha1.ConditionPublished, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPublished, Message: message},
			{Type: "Strange", Status: metav1.ConditionTrue, Reason: message},
		},
	}
}

// gather is what is told of the named metrics, or of all, as lines of the text format without comments, sorted.
func gather(t *testing.T, metrics *controller.Metrics, names ...string) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, family := range families {
		if len(names) > 0 && !slices.Contains(names, family.GetName()) {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	lines := slices.Sorted(strings.SplitSeq(strings.TrimSpace(text.String()), "\n"))
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "#") })
}

func TestMetricsAreNamedByTheRules(t *testing.T) {
	t.Parallel()
	metrics := controller.NewMetrics(clock.RealClock{})
	journal, err := seal.OpenJournal(seal.JournalOptions{Dir: t.TempDir() + "/journal", MaxEntries: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := journal.Close(); err != nil {
			t.Error(err)
		}
	})
	metrics.Follow(journal)
	metrics.Observe(metricsAccount("acme"), statusSaying(metav1.ConditionTrue, v1alpha1.ReasonTokenValid, "all is well"), time.Now())
	metrics.Count(&v1alpha1.OAuthClient{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "bank"}}, metricsAccount("acme"))
	problems, err := testutil.CollectAndLint(metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	for _, want := range []string{
		"oauth_operator_journal_entries_limit 3", `oauth_operator_journal_entries{state="waiting"} 0`, "oauth_operator_keyring_usable 0",
		`oauth_operator_token_requests_open{client="bank",client_namespace="shop"} 1`, `oauth_operator_consents_total{result="Connected"} 1`,
	} {
		if lines := gather(t, metrics); !slices.Contains(lines, want) {
			t.Errorf("%s is not told: %s", want, strings.Join(lines, "\n"))
		}
	}
	if built := gather(t, metrics, "oauth_operator_build_info"); len(built) != 1 || !strings.Contains(built[0], `version="v1.2.3"`) {
		t.Errorf("of the build is told: %q", built)
	}
	for _, line := range gather(t, metrics) {
		// Whoever scrapes gives these names to the operator's own pod.
		for _, taken := range []string{"namespace=", "pod=", "job=", "instance=", "service=", "container=", "name="} {
			if strings.Contains(line, "{"+taken) || strings.Contains(line, ","+taken) {
				t.Errorf("%s has a label that is not its own", line)
			}
		}
	}
}

func TestConditionsAreCounted(t *testing.T) {
	t.Parallel()
	metrics := controller.NewMetrics(clock.RealClock{})
	told := func(step string, want ...string) {
		t.Helper()
		slices.Sort(want)
		if got := gather(t, metrics, "oauth_operator_accounts", "oauth_operator_accounts_in_doubt"); !slices.Equal(got, want) {
			t.Errorf("%s: told is %q, want %q", step, got, want)
		}
	}
	count := func(condition, status, reason string, accounts int) string {
		return fmt.Sprintf("oauth_operator_accounts{condition=%q,reason=%q,status=%q} %d", condition, reason, status, accounts)
	}
	const none, one = "oauth_operator_accounts_in_doubt 0", "oauth_operator_accounts_in_doubt 1"
	told("at first", none)
	metrics.Observe(metricsAccount("acme"), statusSaying(metav1.ConditionTrue, "TokenValid", "one"), time.Now())
	metrics.Observe(metricsAccount("bank"), statusSaying(metav1.ConditionTrue, "TokenValid", "two"), time.Now())
	told("two that are ready", none, count("Ready", "True", "TokenValid", 2), count("Published", "True", "Published", 2))
	doubtful := statusSaying(metav1.ConditionTrue, "OutcomeUnknown", "three")
	doubtful.Claim.ID = "claim"
	metrics.Observe(metricsAccount("bank"), doubtful, time.Now())
	told("one is in doubt", one, count("Ready", "True", "TokenValid", 1), count("Ready", "True", "OutcomeUnknown", 1), count("Published", "True", "Published", 2))
	metrics.Observe(metricsAccount("bank"), statusSaying(metav1.ConditionFalse, "TokenExpired", "four"), time.Now())
	told("one has expired", none, count("Ready", "True", "TokenValid", 1), count("Ready", "False", "TokenExpired", 1), count("Published", "True", "Published", 2))
	metrics.Forget(metricsAccount("bank"))
	metrics.Forget(metricsAccount("nobody"))
	told("one is gone", none, count("Ready", "True", "TokenValid", 1), count("Published", "True", "Published", 1))
	metrics.Forget(metricsAccount("acme"))
	told("both are gone", none)
}

// However many accounts there are and whatever their messages say, each has three series, and the rest does not grow with them.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	metrics := controller.NewMetrics(clock.RealClock{})
	const accounts, each, others = 10000, 3, 10
	for i := range accounts {
		metrics.Observe(metricsAccount(fmt.Sprintf("acme-%d", i)), statusSaying(metav1.ConditionTrue, v1alpha1.ReasonTokenValid, fmt.Sprint(i)), time.Now())
	}
	if series := testutil.CollectAndCount(metrics); series > accounts*each+others {
		t.Errorf("%d series for %d accounts", series, accounts)
	}
	for i := range accounts {
		metrics.Forget(metricsAccount(fmt.Sprintf("acme-%d", i)))
	}
	if series := testutil.CollectAndCount(metrics); series > others {
		t.Errorf("%d series are left of accounts that are gone", series)
	}
}
