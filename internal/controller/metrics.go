package controller

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
)

// Metrics tells a monitoring system of accounts and token requests. What is said of an account is worked out when it is
// asked for, so that time passes in it without any work of ours. It is a prometheus.Collector.
type Metrics struct {
	clock      clock.PassiveClock
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	lostTokens *prometheus.CounterVec
	consents   *prometheus.CounterVec

	expiration, ready, expired, sealed *prometheus.Desc
	open, waiting, circuit             *prometheus.Desc
	conditions, inDoubt                *prometheus.Desc
	journal, journalRoom, keyring      *prometheus.Desc
	pages                              *prometheus.Desc

	mu       sync.Mutex
	accounts map[types.NamespacedName]accountMetrics
	said     conditionCounts
	process  processFacts
	build    prometheus.Metric
}

// processFacts is what this process, of whichever replica, tells of itself.
type processFacts struct {
	pace    Pace
	journal *seal.Journal
	keyring *KeyringSource
	// version is that of the program; "": what the toolchain has noted.
	version string
	// consentURL is where the consent pages are; "": there are none.
	consentURL string
}

// accountMetrics is what is known of one account.
type accountMetrics struct {
	ready bool
	// expiration is that of the token in the Secret; zero: none is known, or there is no token.
	expiration time.Time
	// since is when expiration was noted; before it, expiredSeconds were counted.
	since          time.Time
	expiredSeconds float64
	// key is the id of the key under which the credential is sealed; "": there is none, or its key cannot be told.
	key string
	// inDoubt: a refresh token was claimed, and nobody has written what came of it.
	inDoubt bool
	// said are the conditions that the account is counted under.
	said []*conditionCount
}

// NewMetrics prepares the metrics; the caller registers them.
func NewMetrics(passive clock.PassiveClock) *Metrics {
	// Not "namespace": whoever scrapes gives that name to where the operator runs.
	account := []string{"account_namespace", "account"}
	owner := []string{"client_namespace", "client", "outcome"}
	return &Metrics{
		clock: passive,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oauth_operator_token_requests_total", Help: "Token requests, by client and outcome (ok, or the error class).",
		}, owner),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oauth_operator_token_request_duration_seconds", Help: "Duration of token requests in seconds, from the first packet to the last.",
			Buckets: []float64{0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30},
		}, owner[:2]),
		lostTokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oauth_operator_refresh_tokens_lost_total", Help: "Refresh tokens that the provider refused after a request whose outcome nobody knows.",
		}, account),
		consents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oauth_operator_consents_total", Help: "What came of the consents that people brought, by result.",
		}, []string{"result"}),
		build:       buildInfo(""),
		expiration:  prometheus.NewDesc("oauth_operator_account_token_expiration_timestamp_seconds", "When the token in the account's Secret expires, in seconds since 1970; absent where no expiry is known.", account, nil),
		ready:       prometheus.NewDesc("oauth_operator_account_ready", "1 while the account's Secret holds a usable token, else 0.", account, nil),
		expired:     prometheus.NewDesc("oauth_operator_secret_expired_seconds_total", "Seconds in which the account's Secret held an expired token, since the operator started.", account, nil),
		open:        prometheus.NewDesc("oauth_operator_token_requests_open", "Token requests that are under way, by client.", owner[:2], nil),
		waiting:     prometheus.NewDesc("oauth_operator_token_requests_waiting", "Accounts that wait for their turn to make a token request, by client.", owner[:2], nil),
		circuit:     prometheus.NewDesc("oauth_operator_circuit_open", "1 while token requests of a client are held back because others have failed, by the accounts' namespace; empty where all are held back.", append(owner[:2:2], "account_namespace"), nil),
		sealed:      prometheus.NewDesc("oauth_operator_sealed_credentials", "Credentials in the status of accounts, by the id of the key under which they are sealed.", []string{"key"}, nil),
		conditions:  prometheus.NewDesc("oauth_operator_accounts", "Accounts, by condition, its status and its reason. Each account counts once for each of its conditions.", []string{"condition", "status", "reason"}, nil),
		inDoubt:     prometheus.NewDesc("oauth_operator_accounts_in_doubt", "Accounts whose refresh token was claimed, and of which nobody has written what came of it.", nil, nil),
		journal:     prometheus.NewDesc("oauth_operator_journal_entries", "Results of token requests in this pod's journal: waiting to be written into the status, or room that is reserved for one.", []string{"state"}, nil),
		journalRoom: prometheus.NewDesc("oauth_operator_journal_entries_limit", "How many results this pod's journal takes.", nil, nil),
		keyring:     prometheus.NewDesc("oauth_operator_keyring_usable", "1 while the keyring is in its Secret and credentials can be sealed, else 0.", nil, nil),
		pages:       prometheus.NewDesc("oauth_operator_consent_pages_expected", "1 while the operator hands out links to consent pages, else 0.", nil, nil),
		accounts:    map[types.NamespacedName]accountMetrics{},
		said:        conditionCounts{},
	}
}

// follow has the metrics tell of this process, too.
func (m *Metrics) follow(process processFacts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.process, m.build = process, buildInfo(process.version)
}

// observe notes what a lap left behind. published: the Secret holds the token that the status speaks of.
func (m *Metrics) observe(key types.NamespacedName, status *v1alpha1.ConnectedAccountStatus, published bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.accounts[key]
	known.expiredSeconds += known.expiredSince(now)
	known.since = now
	known.key, _ = seal.KeyID(status.SealedCredential)
	known.ready = meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady)
	known.inDoubt = status.Claim.ID != ""
	known.said = m.said.recount(known.said, status.Conditions)
	if published {
		known.expiration = time.Time{}
		if status.ExpirationTime != nil {
			known.expiration = status.ExpirationTime.Time
		}
	}
	m.accounts[key] = known
}

// expiredSince is for how many seconds the token has been expired since it was last counted.
func (a accountMetrics) expiredSince(now time.Time) float64 {
	if a.expiration.IsZero() {
		return 0
	}
	from := a.expiration
	if a.since.After(from) {
		from = a.since
	}
	return max(now.Sub(from).Seconds(), 0)
}

func (m *Metrics) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said.recount(m.accounts[key].said, nil)
	delete(m.accounts, key)
	m.lostTokens.DeleteLabelValues(key.Namespace, key.Name)
}

// lost counts a refresh token that was lost.
func (m *Metrics) lost(namespace, name string) { m.lostTokens.WithLabelValues(namespace, name).Inc() }

// consented counts what came of a consent.
func (m *Metrics) consented(result v1alpha1.AuthorizationResult) {
	m.consents.WithLabelValues(string(result)).Inc()
}

// exchanged counts one token request.
func (m *Metrics) exchanged(owner *v1alpha1.OAuthClient, err error, took time.Duration) {
	outcome := "ok"
	var failed *oauth.Error
	if errors.As(err, &failed) {
		outcome = string(failed.Class)
	}
	m.requests.WithLabelValues(owner.Namespace, owner.Name, outcome).Inc()
	m.duration.WithLabelValues(owner.Namespace, owner.Name).Observe(took.Seconds())
}

// forgetClient drops what was counted for a client that is gone, so that its names do not stay for ever.
func (m *Metrics) forgetClient(key types.NamespacedName) {
	labels := prometheus.Labels{"client_namespace": key.Namespace, "client": key.Name}
	m.requests.DeletePartialMatch(labels)
	m.duration.DeletePartialMatch(labels)
}

// Describe is part of prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, counted := range []prometheus.Collector{m.requests, m.duration, m.lostTokens, m.consents} {
		counted.Describe(out)
	}
	for _, told := range []*prometheus.Desc{
		m.expiration, m.ready, m.expired, m.sealed, m.open, m.waiting, m.circuit,
		m.conditions, m.inDoubt, m.journal, m.journalRoom, m.keyring, m.pages, buildInfo("").Desc(),
	} {
		out <- told
	}
}

// Collect is part of prometheus.Collector. It asks memory alone.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, counted := range []prometheus.Collector{m.requests, m.duration, m.lostTokens, m.consents} {
		counted.Collect(out)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out <- m.build
	m.collectPace(out)
	m.collectProcess(out)
	m.collectCounts(out)
	m.collectAccounts(out)
}

func gauge(out chan<- prometheus.Metric, what *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(what, prometheus.GaugeValue, value, labels...)
}

// collectAccounts tells of each account. It is called with m.mu held, as those that follow are.
func (m *Metrics) collectAccounts(out chan<- prometheus.Metric) {
	now := m.clock.Now()
	for key, known := range m.accounts {
		gauge(out, m.ready, truth(known.ready), key.Namespace, key.Name)
		out <- prometheus.MustNewConstMetric(m.expired, prometheus.CounterValue, known.expiredSeconds+known.expiredSince(now), key.Namespace, key.Name)
		if !known.expiration.IsZero() {
			gauge(out, m.expiration, float64(known.expiration.Unix()), key.Namespace, key.Name)
		}
	}
}

// collectCounts tells how many accounts there are of each kind.
func (m *Metrics) collectCounts(out chan<- prometheus.Metric) {
	sealed, inDoubt := map[string]int{}, 0
	for _, known := range m.accounts {
		if known.key != "" {
			sealed[known.key]++
		}
		if known.inDoubt {
			inDoubt++
		}
	}
	for key, count := range sealed {
		gauge(out, m.sealed, float64(count), key)
	}
	gauge(out, m.inDoubt, float64(inDoubt))
	for key, count := range m.said {
		gauge(out, m.conditions, float64(count.accounts), key.condition, key.status, key.reason)
	}
}

// collectPace tells what is under way, waits, or is held back.
func (m *Metrics) collectPace(out chan<- prometheus.Metric) {
	if m.process.pace.Slots == nil {
		return
	}
	for key, use := range m.process.pace.Slots.Uses() {
		namespace, name, _ := strings.Cut(key, "/")
		gauge(out, m.open, float64(use.Open), namespace, name)
		gauge(out, m.waiting, float64(use.Waiting), namespace, name)
	}
	for _, each := range m.process.pace.Circuits.Opens() {
		namespace, name, _ := strings.Cut(each.Client, "/")
		gauge(out, m.circuit, 1, namespace, name, each.Namespace)
	}
}

// collectProcess tells of the journal and the keyring, as this replica sees them.
func (m *Metrics) collectProcess(out chan<- prometheus.Metric) {
	if m.process.journal != nil {
		use := m.process.journal.Use()
		gauge(out, m.journal, float64(use.Waiting), "waiting")
		gauge(out, m.journal, float64(use.Reserved), "reserved")
		gauge(out, m.journalRoom, float64(use.Limit))
	}
	if m.process.keyring != nil {
		_, usable := m.process.keyring.current()
		gauge(out, m.keyring, truth(usable))
	}
	gauge(out, m.pages, truth(m.process.consentURL != ""))
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
