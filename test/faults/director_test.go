package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/test/faults/proxy"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const statusPath = "/apis/oauth-operator.dev/v1alpha1/namespaces/faults/connectedaccounts/acct-0001/status"

// directed is a director with one account, whose newest status is the one given.
func directed(of *kind, status string) *director {
	d := newDirector(1)
	d.add(records.Account{Name: "acct-0001", Provider: of.name, Imported: provider.Fingerprint("r0")}, of)
	if status != "" {
		d.write(status)
	}
	return d
}

// write is a status that the API server takes. It returns its class.
func (d *director) write(status string) string {
	r := &proxy.Request{Path: statusPath, Body: []byte(`{"status":` + status + `}`), Proxy: "first"}
	d.direct(r)
	d.answered(r, &proxy.Answer{Status: 200})
	return r.Class.Kind
}

func strictKind() *kind { return kinds()[0] }

func TestWhatAStatusIsAbout(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ before, status, want string }{
		"the first credential":          {``, `{"sealedCredential":"r0"}`, classImport},
		"a first claim":                 {`{"sealedCredential":"r0"}`, `{"sealedCredential":"r0","claim":{"id":"1"}}`, classClaim},
		"another claim in its place":    {`{"sealedCredential":"r0","claim":{"id":"1"}}`, `{"sealedCredential":"r0","claim":{"id":"2"}}`, classClaim},
		"a result":                      {`{"sealedCredential":"r0","claim":{"id":"1"}}`, `{"sealedCredential":"r1"}`, classKeep},
		"a result beside another claim": {`{"sealedCredential":"r0","claim":{"id":"1"}}`, `{"sealedCredential":"r1","claim":{"id":"1"}}`, classKeep},
		"a failure":                     {`{"sealedCredential":"r0","claim":{"id":"1"}}`, `{"sealedCredential":"r0"}`, classFailure},
		"a takeover that is announced":  {`{"sealedCredential":"r0","claim":{"id":"1"}}`, `{"sealedCredential":"r0","claim":{"id":"1","contestedTime":"2026-01-01T00:00:00Z"}}`, classContest},
		"conditions":                    {`{"sealedCredential":"r0"}`, `{"sealedCredential":"r0","conditions":[{"type":"Ready","status":"True"}]}`, classStatus},
		"conditions beside a claim":     {`{"sealedCredential":"r0","claim":{"id":"1"}}`, `{"sealedCredential":"r0","claim":{"id":"1"},"conditions":[]}`, classStatus},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := directed(strictKind(), test.before).write(test.status); got != test.want {
				t.Errorf("it is a %s, want a %s", got, test.want)
			}
		})
	}
}

func TestWhatAStatusIsAboutWhereSomebodyConsents(t *testing.T) {
	t.Parallel()
	const over, claimed = `"authorization":{"handOver":{"id":"o1"}}`, `"authorization":{"handOver":{"id":"o1"},"exchange":{"id":"x1"}}`
	const kept = `"authorization":{"lastOutcome":{"stateHash":"s1","result":"Connected"}}`
	for name, test := range map[string]struct{ before, status, want string }{
		"a link":                           {``, `{"authorizationURL":"u"}`, classStatus},
		"a code is handed over":            {`{}`, `{` + over + `}`, classHandOver},
		"it is claimed":                    {`{` + over + `}`, `{` + claimed + `}`, classCodeClaim},
		"what it brought is kept":          {`{` + claimed + `}`, `{"sealedCredential":"r1",` + kept + `}`, classCodeKeep},
		"it is kept after it was given up": {`{"sealedCredential":"r0"}`, `{"sealedCredential":"r1",` + kept + `}`, classCodeKeep},
		"it is given up":                   {`{` + claimed + `}`, `{"authorization":{"lastOutcome":{"stateHash":"s1","result":"InDoubt"}}}`, classCodeEnd},
		"the next refresh is claimed":      {`{"sealedCredential":"r1",` + kept + `}`, `{"sealedCredential":"r1","claim":{"id":"1"},` + kept + `}`, classClaim},
		"the next refresh is kept":         {`{"sealedCredential":"r1",` + kept + `}`, `{"sealedCredential":"r2",` + kept + `}`, classKeep},
		"conditions while a code waits":    {`{` + over + `}`, `{` + over + `,"conditions":[]}`, classStatus},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := directed(strictKind(), test.before).write(test.status); got != test.want {
				t.Errorf("it is a %s, want a %s", got, test.want)
			}
		})
	}
}

func TestAPatchOfThePagesIsReadOverTheNewestStatus(t *testing.T) {
	t.Parallel()
	const before = `"sealedCredential":"r0","claim":{"id":"1"},"authorizationURL":"u"`
	for name, test := range map[string]struct{ patch, want, next, then string }{
		"a code": {
			`{"authorization":{"handOver":{"id":"o1","host":null},"usedStates":["s1"]}}`, classHandOver,
			`{` + before + `,"authorization":{"handOver":{"id":"o1"}},"conditions":[]}`, classStatus,
		},
		"a no": {
			`{"authorization":{"denial":{"code":"access_denied"},"usedStates":["s1"]}}`, classStatus,
			`{"sealedCredential":"r1","authorizationURL":"u"}`, classKeep,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := directed(strictKind(), `{`+before+`}`)
			r := &proxy.Request{Method: http.MethodPatch, Path: statusPath, Body: []byte(`{"metadata":{"resourceVersion":"7"},"status":` + test.patch + `}`)}
			d.direct(r)
			d.answered(r, &proxy.Answer{Status: 200})
			if r.Class.Kind != test.want {
				t.Errorf("it is a %s, want a %s", r.Class.Kind, test.want)
			}
			if now := d.see()[0]; now.claim != "1" || now.sealed != "r0" || now.link != "u" {
				t.Errorf("afterwards the account is known as %+v", now)
			}
			if got := d.write(test.next); got != test.then {
				t.Errorf("the next is a %s, want a %s", got, test.then)
			}
		})
	}
}

func TestACodeIsFoundByTheLedger(t *testing.T) {
	t.Parallel()
	ledger := filepath.Join(t.TempDir(), "ledger.jsonl")
	known := &consents{ledger: ledger, accounts: map[string]string{}}
	d := directed(strictKind(), `{}`)
	d.consented = known.accountOf
	ask := func() proxy.Class {
		r := &proxy.Request{Body: []byte("grant_type=authorization_code&code=c1")}
		d.directToken(r)
		return r.Class
	}
	if got := ask(); got.Account != "" {
		t.Errorf("without a ledger it is of %s", got.Account)
	}
	line := fmt.Sprintf(`{"seq":1,"kind":"code_issued","user":"acct-0001","code_fingerprint":%q}`, provider.Fingerprint("c1"))
	for _, text := range []string{line[:20], line + "\n"} { // a line that is not whole is read again
		if err := os.WriteFile(ledger, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want := proxy.Class{Kind: classCodeToken, Fingerprint: provider.Fingerprint("c1")}
		if text != line[:20] {
			want.Account = "acct-0001"
		}
		if diff := cmp.Diff(want, ask()); diff != "" {
			t.Errorf("the class (-want +got):\n%s", diff)
		}
	}
}

func TestPointsThatAreAssigned(t *testing.T) {
	t.Parallel()
	d := directed(strictKind(), `{}`)
	d.play(&script{phase: "p", assigned: true})
	hand := func(id string) *proxy.Treatment {
		return d.direct(&proxy.Request{Path: statusPath, Body: []byte(`{"status":{"authorization":{"handOver":{"id":"` + id + `"}}}}`)})
	}
	if got := hand("o1"); got.Cut != "" || got.Plan != "" {
		t.Errorf("without a point it is treated as %+v", got)
	}
	d.assign("acct-0001", &point{name: "lost", class: classHandOver, cut: proxy.CutReply})
	if got := hand("o2"); got.Cut != proxy.CutReply || got.Plan != "p/strict/lost" {
		t.Errorf("it is treated as %+v", got)
	}
	if got := hand("o3"); got.Cut != "" {
		t.Errorf("the next is treated as %+v", got)
	}
}

func TestWhatOtherRequestsAreAbout(t *testing.T) {
	t.Parallel()
	const path = "/api/v1/namespaces/faults/secrets"
	for name, test := range map[string]struct {
		request proxy.Request
		want    proxy.Class
	}{
		"a token Secret that is updated": {proxy.Request{Path: path + "/acct-0001"}, proxy.Class{Kind: classSecret, Account: "acct-0001"}},
		"a token Secret that is created": {proxy.Request{Path: path, Body: []byte("\x00k8s acct-0001 \x01")}, proxy.Class{Kind: classSecret, Account: "acct-0001"}},
		"the Secret of an import":        {proxy.Request{Path: path + "/import-acct-0001"}, proxy.Class{}},
		"a dry run":                      {proxy.Request{Path: statusPath, RawQuery: "dryRun=All", Body: []byte(`{"status":{"claim":{"id":"probe"}}}`)}, proxy.Class{}},
		"another account":                {proxy.Request{Path: strings.Replace(statusPath, "0001", "0002", 1), Body: []byte(`{"status":{"claim":{"id":"1"}}}`)}, proxy.Class{}},
		"a lease":                        {proxy.Request{Path: "/apis/coordination.k8s.io/v1/namespaces/x/leases/y"}, proxy.Class{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := directed(strictKind(), `{"sealedCredential":"r0"}`)
			treatment := d.direct(&test.request)
			if diff := cmp.Diff(test.want, test.request.Class); diff != "" || (treatment == nil) != (test.want.Account == "") {
				t.Errorf("the class (-want +got):\n%s", diff)
			}
		})
	}
}

func TestATokenRequestIsFoundByItsToken(t *testing.T) {
	t.Parallel()
	d := directed(strictKind(), `{"sealedCredential":"r0"}`)
	first := &proxy.Request{Body: []byte("grant_type=refresh_token&refresh_token=r0")}
	d.directToken(first)
	d.answered(first, &proxy.Answer{Status: 200, Body: []byte(`{"refresh_token":"r1"}`)})
	second := &proxy.Request{Body: []byte("grant_type=refresh_token&refresh_token=r1")}
	d.directToken(second)
	for i, request := range []*proxy.Request{first, second} {
		want := proxy.Class{Kind: classToken, Account: "acct-0001", Fingerprint: provider.Fingerprint([]string{"r0", "r1"}[i])}
		if diff := cmp.Diff(want, request.Class); diff != "" {
			t.Errorf("request %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestEachRotationMeetsOneFault(t *testing.T) {
	t.Parallel()
	d := directed(strictKind(), `{"sealedCredential":"r0"}`)
	cut := &point{name: "lost", class: classToken, cut: proxy.CutReply}
	d.play(&script{phase: "p", points: []*point{cut}})
	token := func() *proxy.Treatment {
		return d.directToken(&proxy.Request{Body: []byte("refresh_token=r0")})
	}
	d.write(`{"sealedCredential":"r0","claim":{"id":"1"}}`)
	if got := token(); got.Cut != proxy.CutReply || got.Plan != "p/strict/lost" {
		t.Errorf("the first token request is treated as %+v", got)
	}
	d.write(`{"sealedCredential":"r0","claim":{"id":"2"}}`)
	if got := token(); got.Cut != "" {
		t.Errorf("the second try is treated as %+v", got)
	}
	d.write(`{"sealedCredential":"r1"}`)
	d.write(`{"sealedCredential":"r1","claim":{"id":"3"}}`)
	if got := token(); got.Cut != proxy.CutReply {
		t.Errorf("the next rotation is treated as %+v", got)
	}
}

func TestWhomAKillMeets(t *testing.T) {
	t.Parallel()
	d := directed(strictKind(), `{"sealedCredential":"r0"}`)
	d.play(&script{phase: "p", points: []*point{{name: "held", class: classClaim, where: after}}})
	if met := d.hit(); len(met) != 0 {
		t.Errorf("a kill met %d accounts that do nothing", len(met))
	}
	d.write(`{"sealedCredential":"r0","claim":{"id":"1"}}`)
	if met := d.hit(); len(met) != 1 || !met[0].resting {
		t.Errorf("a kill met %v, want the account with a claim, which rests then", met)
	}
	d.write(`{"sealedCredential":"r1"}`)
	if got := d.see(); got[0].resting || got[0].kept.IsZero() {
		t.Errorf("after its keep the account is %+v", got[0])
	}
}

func TestAnOutageRefusesEveryWrite(t *testing.T) {
	t.Parallel()
	d := directed(strictKind(), `{"sealedCredential":"r0"}`)
	lease := func() *proxy.Treatment { return d.direct(&proxy.Request{Path: "/apis/x/leases/y"}) }
	d.refuse(false, true)
	if got := lease(); got == nil || got.Refuse == nil {
		t.Error("the lease is not refused")
	}
	if got := d.direct(&proxy.Request{Path: statusPath, Body: []byte(`{"status":{}}`)}); got.Refuse != nil {
		t.Error("a status is refused with the lease")
	}
	d.refuse(true, false)
	if got := lease(); got == nil || got.Refuse == nil || got.Refuse.Status != 503 {
		t.Error("a write is not refused")
	}
	d.refuse(false, false)
	if lease() != nil {
		t.Error("the outage does not end")
	}
}

func TestDrawingGoesByWeight(t *testing.T) {
	t.Parallel()
	d := newDirector(1)
	d.script = &script{points: []*point{{name: "often", weight: 9}, {name: "seldom"}}}
	seldom := 0
	for range 1000 {
		if d.draw().name == "seldom" {
			seldom++
		}
	}
	if seldom < 50 || seldom > 200 {
		t.Errorf("a tenth of a thousand is %d", seldom)
	}
}

func TestARequestThatWasMetGoesOnOrDoesNot(t *testing.T) {
	t.Parallel()
	d := newDirector(1)
	late := &point{class: classKeep, where: before, late: time.Hour}
	went := 0
	for range 100 {
		hold := proxy.NewHold(time.Hour)
		late.resolve(hold, d.rng)
		if hold.Released() {
			went++
		}
	}
	if went < 20 || went > 80 {
		t.Errorf("of a hundred requests %d went on, want about half", went)
	}
	hold := proxy.NewHold(time.Hour)
	(&point{class: classKeep, where: after}).resolve(hold, d.rng)
	if hold.Released() {
		t.Error("an answer was delivered to a process that died")
	}
}
