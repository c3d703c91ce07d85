package consent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/oauth-operator/oauth-operator/internal/consent"
)

// measured are the values of all series, by name and labels; of a histogram, how often something was observed.
func (s *scene) measured() map[string]float64 { return collected(s.t, s.metrics) }

func collected(t *testing.T, metrics *consent.Metrics) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			values[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = valueOf(family.GetType(), metric)
		}
	}
	return values
}

func valueOf(kind dto.MetricType, metric *dto.Metric) float64 {
	switch kind {
	case dto.MetricType_COUNTER:
		return metric.GetCounter().GetValue()
	case dto.MetricType_HISTOGRAM:
		return float64(metric.GetHistogram().GetSampleCount())
	default:
		return metric.GetGauge().GetValue()
	}
}

// grown is what has grown, without the prefix that all have.
func grown(before, after map[string]float64) map[string]float64 {
	differ := map[string]float64{}
	for name, value := range after {
		if value != before[name] {
			differ[strings.TrimPrefix(name, "oauth_operator_consent_")] = value - before[name]
		}
	}
	return differ
}

func TestWhatIsMeasuredOfASignIn(t *testing.T) {
	t.Parallel()
	const (
		account, client = `api_request_duration_seconds{outcome="ok",request="readAccount"}`, `api_request_duration_seconds{outcome="ok",request="readClient"}`
		write, conflict = `api_request_duration_seconds{outcome="ok",request="handOver"}`, `api_request_duration_seconds{outcome="conflict",request="handOver"}`
	)
	answered := func(answer string) string { return `requests_total{answer="` + answer + `"}` }
	s := newScene(t, sceneOptions{})
	b := s.browser()
	var begun attempt
	steps := []struct {
		name string
		do   func()
		want map[string]float64
	}{
		{
			"the link is opened", func() { b.get(publicURL + "/connect?ticket=" + s.ticket) },
			map[string]float64{answered("start"): 1, account: 1, client: 1},
		},
		{"the button is pressed", func() { begun = b.begin() }, map[string]float64{answered("provider"): 1, account: 1, client: 1}},
		{"the code comes, and the operator writes at the same time", func() {
			s.beforeWrite = func() error { s.beforeWrite = nil; return consent.ErrConflict }
			b.get(callbackURL(begun.answers("a-code")))
		}, map[string]float64{answered("handedOver"): 1, account: 2, conflict: 1, write: 1, `hand_overs_total{kind="code"}`: 1}},
		{"it comes again", func() { b.get(callbackURL(begun.answers("a-code"))) }, map[string]float64{answered("handedOverBefore"): 1, account: 1}},
		{"somebody says no", func() {
			s.settle("Rejected", "")
			begun = b.begin()
			b.get(callbackURL(url.Values{"state": {begun.state}, "error": {"access_denied"}}))
		}, map[string]float64{answered("provider"): 1, answered("handedOver"): 1, account: 2, client: 1, write: 1, `hand_overs_total{kind="denial"}`: 1}},
		{"the account is gone", func() {
			s.mu.Lock()
			clear(s.accounts)
			s.mu.Unlock()
			b.get(publicURL + "/connect?ticket=" + s.ticket)
		}, map[string]float64{answered("nothing"): 1, `api_request_duration_seconds{outcome="notFound",request="readAccount"}`: 1}},
		{"the API server does not answer", func() {
			s.readError = errors.New("no answer")
			s.mu.Lock()
			account := exampleAccount()
			s.accounts[key(account.Namespace, account.Name)] = account
			s.mu.Unlock()
			b.get(publicURL + "/connect?ticket=" + s.ticket)
		}, map[string]float64{answered("unavailable"): 1, `api_request_duration_seconds{outcome="error",request="readAccount"}`: 1}},
		{"the person has closed the tab meanwhile", func() {
			b.get(publicURL+"/connect?ticket="+s.ticket, func(r *http.Request) {
				gone, cancel := context.WithCancel(r.Context())
				cancel()
				*r = *r.WithContext(gone)
			})
		}, map[string]float64{answered("unavailable"): 1, `api_request_duration_seconds{outcome="canceled",request="readAccount"}`: 1}},
	}
	for _, step := range steps {
		before := s.measured()
		step.do()
		if got := grown(before, s.measured()); !maps.Equal(got, step.want) {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
}

func TestAllSeriesAreThereFromTheBeginning(t *testing.T) {
	t.Parallel()
	before := slices.Sorted(maps.Keys(collected(t, consent.NewMetrics(nil, "v1"))))
	if len(before) < 40 {
		t.Errorf("there are %v", before)
	}
	for _, kind := range consent.PageKinds() {
		if !slices.Contains(before, `oauth_operator_consent_requests_total{answer="`+kind+`"}`) {
			t.Errorf("there is no series for the page %s", kind)
		}
	}
}

func TestWhatIsMeasuredOfTheKeys(t *testing.T) {
	t.Parallel()
	ticking := clocktesting.NewFakeClock(epoch())
	var data map[string][]byte
	failure := errors.New("nothing is mounted yet")
	asked := make(chan struct{})
	source := func(context.Context) (map[string][]byte, error) {
		asked <- struct{}{}
		return data, failure
	}
	store := consent.NewKeyStore(source, ticking, slog.New(slog.DiscardHandler))
	metrics := consent.NewMetrics(store, "")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	// look has the store read once more, later, and tells what is measured once it waits again.
	look := func(later time.Duration) string {
		ticking.Step(later)
		<-asked
		waitFor(t, ticking.HasWaiters)
		values := collected(t, metrics)
		var said []string
		for _, name := range []string{"keys_usable", "keys_read_timestamp_seconds", "keys_taken_timestamp_seconds"} {
			if value, is := values["oauth_operator_consent_"+name+"{}"]; is && name == "keys_usable" {
				said = append(said, fmt.Sprint(value))
			} else if is {
				said = append(said, time.Unix(int64(value), 0).Sub(epoch()).String())
			}
		}
		return strings.Join(said, " ")
	}
	go func() { ended <- store.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if got := look(0); got != "0" {
		t.Errorf("without keys: %s", got)
	}
	data, failure = newTestKeys(t).data, nil
	if got := look(time.Second); got != "1 1s 1s" {
		t.Errorf("with keys: %s", got)
	}
	if got := look(10 * time.Second); got != "1 11s 1s" {
		t.Errorf("read again: %s", got)
	}
	failure = errors.New("it cannot be read")
	if got := look(10 * time.Second); got != "1 11s 1s" {
		t.Errorf("not read any more: %s", got)
	}
	data, failure = newTestKeys(t).data, nil
	if got := look(10 * time.Second); got != "1 31s 31s" {
		t.Errorf("with other keys: %s", got)
	}
}
