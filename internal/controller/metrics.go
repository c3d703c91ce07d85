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

	expiration, ready, expired, sealed *prometheus.Desc
	open, waiting, circuit             *prometheus.Desc

	mu       sync.Mutex
	accounts map[types.NamespacedName]accountMetrics
	pace     Pace
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
}

// NewMetrics prepares the metrics; the caller registers them.
func NewMetrics(passive clock.PassiveClock) *Metrics {
	account := []string{"namespace", "name"}
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
		expiration: prometheus.NewDesc("oauth_operator_account_token_expiration_timestamp_seconds", "When the token in the account's Secret expires, in seconds since 1970; absent where no expiry is known.", account, nil),
		ready:      prometheus.NewDesc("oauth_operator_account_ready", "1 while the account's Secret holds a usable token, else 0.", account, nil),
		expired:    prometheus.NewDesc("oauth_operator_secret_expired_seconds_total", "Seconds in which the account's Secret held an expired token, since the operator started.", account, nil),
		open:       prometheus.NewDesc("oauth_operator_token_requests_open", "Token requests that are under way, by client.", owner[:2], nil),
		waiting:    prometheus.NewDesc("oauth_operator_token_requests_waiting", "Accounts that wait for their turn to make a token request, by client.", owner[:2], nil),
		circuit:    prometheus.NewDesc("oauth_operator_circuit_open", "1 while token requests of a client are held back because others have failed, by the accounts' namespace; empty where all are held back.", append(owner[:2:2], "namespace"), nil),
		sealed:     prometheus.NewDesc("oauth_operator_sealed_credentials", "Credentials in the status of accounts, by the id of the key under which they are sealed.", []string{"key"}, nil),
		accounts:   map[types.NamespacedName]accountMetrics{},
	}
}

// follow has the metrics tell what is under way, waits, or is held back.
func (m *Metrics) follow(between Pace) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pace = between
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
	delete(m.accounts, key)
	m.lostTokens.DeleteLabelValues(key.Namespace, key.Name)
}

// lost counts a refresh token that was lost.
func (m *Metrics) lost(namespace, name string) { m.lostTokens.WithLabelValues(namespace, name).Inc() }

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
	m.requests.Describe(out)
	m.duration.Describe(out)
	m.lostTokens.Describe(out)
	out <- m.expiration
	out <- m.ready
	out <- m.expired
	out <- m.open
	out <- m.waiting
	out <- m.circuit
	out <- m.sealed
}

// Collect is part of prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.requests.Collect(out)
	m.duration.Collect(out)
	m.lostTokens.Collect(out)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.collectPace(out)
	now := m.clock.Now()
	sealed := map[string]int{}
	for _, known := range m.accounts {
		if known.key != "" {
			sealed[known.key]++
		}
	}
	for key, count := range sealed {
		out <- prometheus.MustNewConstMetric(m.sealed, prometheus.GaugeValue, float64(count), key)
	}
	for key, known := range m.accounts {
		ready := 0.0
		if known.ready {
			ready = 1
		}
		out <- prometheus.MustNewConstMetric(m.ready, prometheus.GaugeValue, ready, key.Namespace, key.Name)
		out <- prometheus.MustNewConstMetric(m.expired, prometheus.CounterValue, known.expiredSeconds+known.expiredSince(now), key.Namespace, key.Name)
		if !known.expiration.IsZero() {
			out <- prometheus.MustNewConstMetric(m.expiration, prometheus.GaugeValue, float64(known.expiration.Unix()), key.Namespace, key.Name)
		}
	}
}

// collectPace is called with m.mu held.
func (m *Metrics) collectPace(out chan<- prometheus.Metric) {
	if m.pace.Slots == nil {
		return
	}
	for key, use := range m.pace.Slots.Uses() {
		namespace, name, _ := strings.Cut(key, "/")
		out <- prometheus.MustNewConstMetric(m.open, prometheus.GaugeValue, float64(use.Open), namespace, name)
		out <- prometheus.MustNewConstMetric(m.waiting, prometheus.GaugeValue, float64(use.Waiting), namespace, name)
	}
	for _, each := range m.pace.Circuits.Opens() {
		namespace, name, _ := strings.Cut(each.Client, "/")
		out <- prometheus.MustNewConstMetric(m.circuit, prometheus.GaugeValue, 1, namespace, name, each.Namespace)
	}
}
