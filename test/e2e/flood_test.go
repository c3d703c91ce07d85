package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauth-operator/oauth-operator/test/person"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
	"github.com/oauth-operator/oauth-operator/test/stage/stagetest"
)

const (
	// strangers is how many requests come, each from an address of its own, and floodRate how many in a second: more than the
	// 10,000 a minute that the pages must bear.
	strangers = 10_000
	floodRate = 250
	// hands is how many of them come at once.
	hands = 16
	// mostGrowth bounds what the process may grow by meanwhile.
	mostGrowth = 32 << 20
	// floodedRefreshes is how often each account is refreshed at least while they come: they take 40 s, and a refresh comes each
	// 7 s or so.
	floodedRefreshes = 3
)

// S23 with the real process, in which pages and controller are one: while strangers knock 10,000 times, they cause no request
// to the API server, the process does not grow, no token of an account comes to its end before it is replaced, and a person
// connects.
func TestS23AccountsAreRefreshedOnTimeWhileStrangersKnock(t *testing.T) {
	t.Parallel()
	played := stagetest.Play(t, stage.Options{Consent: true, TokenLifetime: 15 * time.Second})
	operator := start(t, played, stage.OperatorOptions{Pages: true})
	imports, err := played.ApplyImports(t.Context(), stage.ImportOptions{RefreshBefore: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := played.ApplyConsents(t.Context(), stage.ImportOptions{RefreshBefore: 8 * time.Second}); err != nil {
		t.Fatal(err)
	}
	published(t, played, names(imports)...)
	link, err := played.Link(t.Context(), smartbillsConsent)
	if err != nil {
		t.Fatal(err)
	}
	before, spent, mark := residentMemory(t, operator), entries(t, played, provider.KindSpent), auditMark(t, played)

	flood(t, played.Front.URL, 0, strangers*3/4)
	if asked := pagesEvents(t, played, mark); len(asked) > 0 {
		t.Errorf("strangers have caused %d requests to the API server, the first of them: %s", len(asked), asked[0])
	}
	connects := make(chan error, 1)
	go func() { connects <- connectsAt(t.Context(), played, link) }()
	flood(t, played.Front.URL, strangers*3/4, strangers)
	if err := <-connects; err != nil {
		t.Error(err)
	}
	if len(pagesEvents(t, played, mark)) == 0 {
		t.Error("the person has caused no request either, so that nothing was counted")
	}
	if grown := residentMemory(t, operator) - before; grown > mostGrowth {
		t.Errorf("the process has grown by %d MiB", grown>>20)
	}
	if got := entries(t, played, provider.KindSpent) - spent; got < floodedRefreshes*len(imports) {
		t.Errorf("%d refresh tokens were spent meanwhile, want %d at least", got, floodedRefreshes*len(imports))
	}
	noneEnded(t, played)
}

// flood has strangers come, those with these numbers, and wants nearly all of them to be told that there is nothing for them;
// the others are asked to wait.
func flood(t *testing.T, base string, from, to int) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: hands, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // whoever comes here trusts anybody
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answers := map[int]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	turns := make(chan int)
	for range hands {
		all.Go(func() {
			for i := range turns {
				status, err := knock(t.Context(), client, base, i)
				mu.Lock()
				answers[status]++
				mu.Unlock()
				if err != nil {
					t.Errorf("stranger %d: %v", i, err)
				}
			}
		})
	}
	pace := time.NewTicker(time.Second / floodRate)
	defer pace.Stop()
	for i := from; i < to; i++ {
		<-pace.C
		turns <- i
	}
	close(turns)
	all.Wait()
	if got := answers[http.StatusNotFound] + answers[http.StatusBadRequest]; got < (to-from)*9/10 || answers[http.StatusInternalServerError] > 0 {
		t.Errorf("of %d strangers %d were told that there is nothing for them; all answers: %v", to-from, got, answers)
	}
}

// knock is one stranger: with a link, a form, a callback, a callback with a cookie, or the address of a result, all of them
// made up.
func knock(ctx context.Context, client *http.Client, base string, i int) (int, error) {
	made := fmt.Sprintf("%043d", i)
	method, target, body := http.MethodGet, base, ""
	switch i % 5 {
	case 0:
		target += "/connect?ticket=" + strings.Repeat(made, 4)
	case 1:
		method, target, body = http.MethodPost, target+"/connect", "ticket="+strings.Repeat(made, 4)
	case 2, 3:
		target += "/callback/shop/smartbills-consent?code=c&state=" + made
	default:
		target += "/result?flow=" + made
	}
	request, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	header := request.Header
	header.Set("Origin", base)
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	header.Set("X-Forwarded-For", netip.AddrFrom4([4]byte{203, byte(i >> 16 & 0xff), byte(i >> 8 & 0xff), byte(i & 0xff)}).String())
	if i%5 == 3 {
		header.Set("Cookie", "__Host-oauth-"+made+"="+strings.Repeat(made, 10))
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// pagesEvents are the requests of the pages to the API server since the mark.
func pagesEvents(t *testing.T, played *stage.Stage, mark int) []string {
	t.Helper()
	var found []string
	for _, event := range operatorEvents(t, played, mark) {
		if event.UserAgent == "oauth-operator-consent" {
			found = append(found, describe(event))
		}
	}
	return found
}

func residentMemory(t *testing.T, operator *stage.Operator) int64 {
	t.Helper()
	found := regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)$`).FindSubmatch(metricsText(t, operator.MetricsURL))
	if found == nil {
		t.Fatal("the metrics do not say how large the process is")
	}
	bytes, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(bytes)
}

// noneEnded wants each access token to have been replaced, by one of the same grant, before it ended.
func noneEnded(t *testing.T, played *stage.Stage) {
	t.Helper()
	ledger, err := provider.ReadLedger(played.Provider.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	latest := map[string]time.Time{}
	for _, entry := range ledger {
		if entry.Kind != provider.KindIssued || entry.Lineage == "" {
			continue
		}
		if ends, known := latest[entry.Lineage]; known && entry.Time.After(ends) {
			t.Errorf("a token of %s ended %s before the next one came", entry.ClientID, entry.Time.Sub(ends))
		}
		latest[entry.Lineage] = entry.ExpiresTime
	}
	for lineage, ends := range latest {
		if time.Now().After(ends) {
			t.Errorf("the last token of the grant %s has ended", lineage)
		}
	}
}

// connectsAt has a person follow a link to its end.
func connectsAt(ctx context.Context, played *stage.Stage, link string) error {
	somebody, err := person.New(person.Options{
		CAFiles: []string{played.Front.CAFile, played.Provider.CAFile}, Fields: map[string]string{"login": "Ada"}, Address: "192.0.2.1",
	})
	if err != nil {
		return err
	}
	defer somebody.Close()
	page, err := somebody.Follow(ctx, link)
	if err == nil && page.Heading != connected {
		err = fmt.Errorf("a person ends at %q: %s", page.Heading, page.Text)
	}
	return err
}
