package consent

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/built"
)

// What a request is answered with, where that is no page: the person is sent on.
const (
	answerProvider   = "provider"
	answerHandedOver = "handedOver"
	// answerSeen: what the callback brings was handed over before.
	answerSeen = "handedOverBefore"
)

// What the pages ask of the API server.
const (
	askAccount  = "readAccount"
	askClient   = "readClient"
	askHandOver = "handOver"
)

// What comes of that. A person who has closed the tab is nobody's fault.
const (
	askedOK       = "ok"
	askedNotFound = "notFound"
	askedConflict = "conflict"
	askedCanceled = "canceled"
	askedError    = "error"
)

// What is handed over.
const (
	handedCode   = "code"
	handedDenial = "denial"
)

// Metrics tells a monitoring system how people fare. All its series are there from the beginning, and no label has anything
// from a request: whoever calls adds none. It is a prometheus.Collector.
type Metrics struct {
	answers, handOvers  *prometheus.CounterVec
	asked               *prometheus.HistogramVec
	usable, read, taken *prometheus.Desc
	keys                *KeyStore
	build               prometheus.Metric
}

// NewMetrics prepares the metrics of pages with these keys, which may be nil; the caller registers them. version is that of
// the program; "": what the toolchain has noted.
func NewMetrics(keys *KeyStore, version string) *Metrics {
	m := &Metrics{
		keys: keys, build: buildInfo(version),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oauth_operator_consent_requests_total", Help: "Requests of browsers, by what they were answered with: a page, or where the person was sent.",
		}, []string{"answer"}),
		handOvers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oauth_operator_consent_hand_overs_total", Help: "What people brought from providers and was handed over to the operator, by kind.",
		}, []string{"kind"}),
		asked: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oauth_operator_consent_api_request_duration_seconds", Help: "Duration of the pages' requests to the API server in seconds, by request and outcome.",
			Buckets: []float64{0.01, 0.03, 0.1, 0.3, 1, 3, 10},
		}, []string{"request", "outcome"}),
		usable: prometheus.NewDesc("oauth_operator_consent_keys_usable", "1 while the pages have keys, else 0.", nil, nil),
		read:   prometheus.NewDesc("oauth_operator_consent_keys_read_timestamp_seconds", "When the keys could last be read, in seconds since 1970; absent until then.", nil, nil),
		taken:  prometheus.NewDesc("oauth_operator_consent_keys_taken_timestamp_seconds", "Since when the pages have the keys that they have, in seconds since 1970; absent where there are none.", nil, nil),
	}
	for kind := range faces() {
		m.answers.WithLabelValues(string(kind))
	}
	for _, answer := range []string{answerProvider, answerHandedOver, answerSeen} {
		m.answers.WithLabelValues(answer)
	}
	for _, kind := range []string{handedCode, handedDenial} {
		m.handOvers.WithLabelValues(kind)
	}
	for _, request := range []string{askAccount, askClient, askHandOver} {
		for _, outcome := range []string{askedOK, askedNotFound, askedConflict, askedCanceled, askedError} {
			m.asked.WithLabelValues(request, outcome)
		}
	}
	return m
}

func buildInfo(version string) prometheus.Metric {
	return built.Info("oauth_operator_consent_build_info", "Always 1; the labels tell what the consent pages were built from.", version)
}

// answered counts a request by one of the answers that there are.
func (m *Metrics) answered(answer string) { m.answers.WithLabelValues(answer).Inc() }

// handed counts what was handed over.
func (m *Metrics) handed(got answer) {
	kind := handedCode
	if got.denial != "" {
		kind = handedDenial
	}
	m.handOvers.WithLabelValues(kind).Inc()
}

// Describe is part of prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, counted := range []prometheus.Collector{m.answers, m.handOvers, m.asked} {
		counted.Describe(out)
	}
	for _, told := range []*prometheus.Desc{m.usable, m.read, m.taken, m.build.Desc()} {
		out <- told
	}
}

// Collect is part of prometheus.Collector. It asks memory alone.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	for _, counted := range []prometheus.Collector{m.answers, m.handOvers, m.asked} {
		counted.Collect(out)
	}
	out <- m.build
	if m.keys == nil {
		return
	}
	usable := 0.0
	if m.keys.Current() != nil {
		usable = 1
	}
	out <- prometheus.MustNewConstMetric(m.usable, prometheus.GaugeValue, usable)
	read, taken := m.keys.times()
	for what, when := range map[*prometheus.Desc]time.Time{m.read: read, m.taken: taken} {
		if !when.IsZero() {
			out <- prometheus.MustNewConstMetric(what, prometheus.GaugeValue, float64(when.Unix()))
		}
	}
}

// measured asks the API server as the Accounts and Clients in it do, and notes how long that took.
type measured struct {
	Accounts
	Clients
	metrics *Metrics
	clock   clock.PassiveClock
}

func (m measured) Account(ctx context.Context, namespace, name string) (*v1alpha1.ConnectedAccount, error) {
	begun := m.clock.Now()
	account, err := m.Accounts.Account(ctx, namespace, name)
	m.note(ctx, askAccount, begun, err)
	return account, err
}

func (m measured) HandOver(ctx context.Context, read, changed *v1alpha1.ConnectedAccount) error {
	begun := m.clock.Now()
	err := m.Accounts.HandOver(ctx, read, changed)
	m.note(ctx, askHandOver, begun, err)
	return err
}

func (m measured) Client(ctx context.Context, namespace, name string) (*v1alpha1.OAuthClient, error) {
	begun := m.clock.Now()
	client, err := m.Clients.Client(ctx, namespace, name)
	m.note(ctx, askClient, begun, err)
	return client, err
}

func (m measured) note(ctx context.Context, request string, begun time.Time, err error) {
	outcome := askedOK
	switch {
	case err == nil:
	case errors.Is(err, ErrNotFound):
		outcome = askedNotFound
	case errors.Is(err, ErrConflict):
		outcome = askedConflict
	case errors.Is(ctx.Err(), context.Canceled):
		outcome = askedCanceled
	default:
		outcome = askedError
	}
	m.metrics.asked.WithLabelValues(request, outcome).Observe(m.clock.Since(begun).Seconds())
}
