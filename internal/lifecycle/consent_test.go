package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

const (
	consentBase = "https://oauth.example.com"
	freshURL    = consentBase + "/connect?ticket=fresh"
	givenURL    = consentBase + "/connect?ticket=given"
)

// browser lets the account's client send a person to a browser.
func browser(f *lifecycle.Facts) {
	f.Account.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{}
	f.Import = lifecycle.Import{}
	f.Client.Spec.Endpoints.Authorization = "https://bank.example/authorize"
	f.Client.Spec.TokenResponse.Identity.Pointer = "/account"
	f.Consent.BaseURL = consentBase
	f.Consent.Fresh = lifecycle.Link{URL: freshURL, Attempt: lifecycle.ConsentAttempt(f.Account), NotAfter: in(lifecycle.LinkLifetime)}
}

// inviting is a new account that waits for a person.
func inviting() *lifecycle.Facts {
	f := importing()
	browser(f)
	return f
}

// connected is an account that a person has consented to a day ago.
func connected() *lifecycle.Facts {
	f := rotating()
	browser(f)
	f.Credential.GrantTime, f.Credential.GrantedScopes, f.Credential.Identity = ago(24*time.Hour), []string{"read"}, "alice"
	f.Account.Status.Authorization.Attempt = 2
	f.Consent.Fresh.Attempt = 2
	f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, ago(10*time.Minute))
	return f
}

// given puts a link into the status that was made that long ago.
func given(age time.Duration) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Account.Status.AuthorizationURL = givenURL
		f.Consent.Link = lifecycle.Link{URL: givenURL, Attempt: lifecycle.ConsentAttempt(f.Account), NotAfter: in(lifecycle.LinkLifetime - age)}
	}
}

// handsOver puts a code into the status that was handed over that long ago.
func handsOver(age time.Duration) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Account.Status.AuthorizationURL = givenURL
		f.Account.Status.Authorization.Attempt = lifecycle.ConsentAttempt(f.Account)
		f.Account.Status.Authorization.HandOver = v1alpha1.HandOver{
			ID: "over-1", Sealed: "sealed", SealedVerifier: "sealed", StateHash: "state-1", ClientUID: "client-uid", ClientID: "id",
			RedirectURI: consentBase + "/callback/shop/bank", Host: "bank.example",
			Attempt: lifecycle.ConsentAttempt(f.Account), HandedOverTime: when(ago(age)),
		}
	}
}

// exchanges puts the claim of the code into the status.
func exchanges(holder lifecycle.ClaimHolder, unchanged time.Duration) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Account.Status.ClaimSequence = 11
		f.Account.Status.Authorization.Exchange = v1alpha1.CodeClaim{
			ID: "claim-11", Sequence: 11, HandOverID: "over-1", StateHash: "state-1", ClientUID: "client-uid", Host: "bank.example", DurationSeconds: 45,
		}
		f.Consent.CodeClaim, f.Consent.CodeHolder, f.Consent.CodeUnchanged = "claim-11", holder, unchanged
	}
}

// uninvited takes the link out of the status, as where none is wanted any more.
func uninvited(f *lifecycle.Facts) { f.Account.Status.AuthorizationURL = "" }

// failed is that so many attempts came to nothing since.
func failed(count int32, since time.Duration) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) {
		f.Account.Status.Authorization.Failures = v1alpha1.ConsentFailures{Count: count, WindowStartTime: when(ago(since))}
	}
}

func redeems(scopes ...string) lifecycle.Plan {
	return lifecycle.Plan{Rule: "code handed over", Action: lifecycle.Exchange, Scopes: scopes, Code: true, Claim: true, Attempt: 1}
}

func TestDecideCode(t *testing.T) {
	t.Parallel()
	doubtful := func(age time.Duration) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			f.Account.Status.Authorization.LastOutcome = v1alpha1.AuthorizationOutcome{Result: v1alpha1.AuthorizationInDoubt, OutcomeTime: when(ago(age))}
		}
	}
	late := func(f *lifecycle.Facts) {
		f.Credential.IssuedTime, f.Credential.ExpirationTime = ago(50*time.Minute), in(10*time.Minute)
	}
	over := func(edit func(*v1alpha1.HandOver)) func(*lifecycle.Facts) {
		return change(handsOver(time.Second), func(f *lifecycle.Facts) { edit(&f.Account.Status.Authorization.HandOver) })
	}
	dropped := rests("code to drop")
	decideAll(t, map[string]planCase{
		"a code is exchanged":                       {inviting(), handsOver(time.Second), redeems("read")},
		"so it is though the old grant is alive":    {connected(), handsOver(time.Second), redeems("read")},
		"before a refresh that is due":              {connected(), change(late, handsOver(time.Second)), redeems("read")},
		"though the old grant was refused for good": {connected(), change(refusing(oauth.RefreshTokenRejected), handsOver(time.Second)), redeems("read")},
		"though the old one was lost":               {connected(), change(refusing(lifecycle.RefreshTokenLost), handsOver(time.Second)), redeems("read")},
		"though the old one was put back":           {connected(), change(handsOver(time.Second), func(f *lifecycle.Facts) { f.HighestRotation = 1 << 20 }), redeems("read")},
		"though others of the client fail": {connected(), change(handsOver(time.Second), func(f *lifecycle.Facts) {
			f.Held = lifecycle.Held{Class: oauth.NotSent, Since: ago(time.Hour), Until: in(time.Hour)}
		}), redeems("read")},
		"though a refresh has failed and waits":                {connected(), change(failing(oauth.OutcomeUnknown, time.Minute, time.Hour), handsOver(time.Second)), redeems("read")},
		"with scopes that were not granted before":             {connected(), change(handsOver(time.Second), func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"read", "write"} }), redeems("read", "write")},
		"a refresh under way is waited for":                    {connected(), change(late, claimed(lifecycle.ClaimForeign, 1, time.Second), handsOver(time.Second)), rests("code waits for an open claim")},
		"but not one that nobody finishes":                     {connected(), change(late, claimed(lifecycle.ClaimForeign, 1, time.Hour), handsOver(time.Second)), redeems("read")},
		"nor one whose outcome is in doubt":                    {connected(), change(late, claimed(lifecycle.ClaimInDoubt, 3, 0), handsOver(time.Second)), redeems("read")},
		"an exchange of this process is waited for":            {connected(), change(handsOver(time.Second), func(f *lifecycle.Facts) { f.ExchangeOpen = true }), rests("exchange open")},
		"a suspended account exchanges none":                   {connected(), change(handsOver(time.Second), suspended), rests("suspended")},
		"nor one whose client is not there":                    {connected(), change(handsOver(time.Second), func(f *lifecycle.Facts) { f.Client = nil }), rests("client not available")},
		"nor one that is deleted":                              {connected(), change(handsOver(time.Second), deleted), rests("deleted")},
		"a code of which nothing was sent waits a little":      {inviting(), change(handsOver(time.Second), func(f *lifecycle.Facts) { f.LastAttempt = ago(4 * time.Second) }), rests("code too soon")},
		"then it is sent":                                      {inviting(), change(handsOver(time.Second), failing(oauth.NotSent, 15*time.Second, time.Hour)), redeems("read")},
		"nothing is imported while a code waits":               {importing(), change(imports(lifecycle.ImportNew), browserOnly, handsOver(time.Second)), redeems("read")},
		"a code dies after ten minutes":                        {inviting(), handsOver(10 * time.Minute), dropped},
		"though its client is not there":                       {inviting(), change(handsOver(10*time.Minute), func(f *lifecycle.Facts) { f.Client = nil }), dropped},
		"a code without a time is none":                        {inviting(), over(func(o *v1alpha1.HandOver) { o.HandedOverTime = nil }), dropped},
		"a code of another client is dropped":                  {inviting(), over(func(o *v1alpha1.HandOver) { o.ClientUID = "other" }), dropped},
		"so is one of another client id":                       {inviting(), over(func(o *v1alpha1.HandOver) { o.ClientID = "other" }), dropped},
		"one of another redirect URI":                          {inviting(), over(func(o *v1alpha1.HandOver) { o.RedirectURI += "2" }), dropped},
		"one of another token host":                            {inviting(), over(func(o *v1alpha1.HandOver) { o.Host = "other.example" }), dropped},
		"one without the verifier that the client wants":       {inviting(), over(func(o *v1alpha1.HandOver) { o.SealedVerifier = "" }), dropped},
		"one with a verifier that it does not want":            {inviting(), change(handsOver(time.Second), func(f *lifecycle.Facts) { f.Client.Spec.AuthorizationRequest.PKCE = v1alpha1.PKCENone }), dropped},
		"one that nobody was asked for, where the grant works": {connected(), change(handsOver(time.Second), uninvited), dropped},
		"but one that somebody is asked for by now is sent":    {inviting(), change(handsOver(time.Second), uninvited), redeems("read")},
		"one of an account whose tokens are imported only":     {importing(), change(browserOnly, handsOver(time.Second), func(f *lifecycle.Facts) { f.Account.Spec.Consent.Link = v1alpha1.LinkNever }), dropped},
		"one after more failures than the pages let happen":    {inviting(), change(handsOver(time.Second), failed(6, 59*time.Minute)), dropped},
		"not the last that they let through":                   {inviting(), change(handsOver(time.Second), failed(5, 59*time.Minute)), redeems("read")},
		"nor one after the hour":                               {inviting(), change(handsOver(time.Second), failed(6, time.Hour)), redeems("read")},
		"and one of a link that was used":                      {inviting(), over(func(o *v1alpha1.HandOver) { o.Attempt = 9 }), dropped},
		"another replica's exchange is waited for":             {connected(), change(handsOver(time.Minute), exchanges(lifecycle.ClaimForeign, 44*time.Second)), rests("code claimed")},
		"and so does a refresh that is due meanwhile":          {connected(), change(late, handsOver(time.Minute), exchanges(lifecycle.ClaimForeign, 44*time.Second)), rests("code claimed")},
		"a code that nobody finishes is given up, never taken": {connected(), change(handsOver(time.Minute), exchanges(lifecycle.ClaimForeign, 45*time.Second)), dropped},
		"a code in doubt is given up":                          {connected(), change(handsOver(time.Minute), exchanges(lifecycle.ClaimInDoubt, 0)), dropped},
		"so is one of a process that is dead":                  {connected(), change(handsOver(time.Minute), exchanges(lifecycle.ClaimOrphaned, 0)), dropped},
		"one of which it is not known whose it is stays":       {connected(), change(handsOver(time.Minute), exchanges(lifecycle.ClaimInDoubt, 0), func(f *lifecycle.Facts) { f.Consent.CodeClaim = "" }), rests("code claimed")},
		"but not while the journal may hold its result":        {connected(), change(handsOver(time.Minute), exchanges(lifecycle.ClaimOrphaned, 0), func(f *lifecycle.Facts) { f.ExchangeOpen = true }), rests("exchange open")},
		"a code of which not a byte was sent is free again":    {connected(), change(handsOver(time.Minute), exchanges(lifecycle.ClaimUnsent, 0)), acts("code unsent", lifecycle.Unclaim)},
		"the old grant rests after a code in doubt":            {connected(), change(late, doubtful(119*time.Second)), rests("old grant rests")},
		"whatever came of an attempt since": {connected(), change(late, func(f *lifecycle.Facts) {
			change(handsOver(time.Minute), exchanges(lifecycle.ClaimInDoubt, 0))(f)
			f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, ago(time.Minute))
			f.Account.Status.Authorization.Denial = v1alpha1.AuthorizationDenial{Code: "access_denied", StateHash: "state-2", DeniedTime: when(noon())}
			f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, noon())
		}), rests("old grant rests")},
		"and not for ever":                   {connected(), change(late, doubtful(2*time.Minute)), spends("refresh due", 1)},
		"not even where somebody wrote 2099": {connected(), change(late, doubtful(-73*365*24*time.Hour)), spends("refresh due", 1)},
		"a refresh asks for no scope that nobody granted": {
			connected(), change(late, func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"read", "write"} }), spends("refresh due", 1),
		},
	})
}

// browserOnly is browser, for an account that imports as well.
func browserOnly(f *lifecycle.Facts) {
	was, ref := f.Import, f.Account.Spec.ImportRefreshTokenRef
	browser(f)
	f.Import, f.Account.Spec.ImportRefreshTokenRef = was, ref
}

func TestTheLinkStaysTheSameWhileAPersonIsNeeded(t *testing.T) {
	t.Parallel()
	always := func(f *lifecycle.Facts) { f.Account.Spec.Consent.Link = v1alpha1.LinkAlways }
	never := func(f *lifecycle.Facts) { f.Account.Spec.Consent.Link = v1alpha1.LinkNever }
	notReady := func(f *lifecycle.Facts) { f.Client.Generation++ }
	absolute := func(lifetime time.Duration) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			f.Client.Spec.RefreshTokens.AbsoluteLifetimeSeconds = int32(lifetime.Seconds())
		}
	}
	tests := map[string]struct {
		facts  *lifecycle.Facts
		change func(*lifecycle.Facts)
		want   string
	}{
		"a new account gets one":                     {inviting(), nothing, freshURL},
		"not before its client is ready":             {inviting(), notReady, ""},
		"not without a place for the pages":          {inviting(), func(f *lifecycle.Facts) { f.Consent.BaseURL = "" }, ""},
		"not without keys":                           {inviting(), func(f *lifecycle.Facts) { f.Consent.KeysMissing = true }, ""},
		"not where the client sends nobody anywhere": {inviting(), func(f *lifecycle.Facts) { f.Client.Spec.Endpoints.Authorization = "" }, ""},
		"not where it is not wanted":                 {inviting(), never, ""},
		"not where nobody could say whose access comes": {inviting(), func(f *lifecycle.Facts) {
			f.Account.Spec.ExpectedIdentity, f.Client.Spec.TokenResponse.Identity.Pointer = "bob", ""
		}, ""},
		"not while it is suspended":                             {inviting(), suspended, ""},
		"it stays":                                              {inviting(), given(time.Hour), givenURL},
		"it stays while the client is not ready":                {inviting(), change(given(time.Hour), notReady), givenURL},
		"it stays while a code is exchanged":                    {inviting(), change(given(time.Hour), handsOver(time.Second)), givenURL},
		"after a week it is made anew":                          {inviting(), given(lifecycle.LinkLifetime / 2), freshURL},
		"not sooner":                                            {inviting(), given(lifecycle.LinkLifetime/2 - 2*time.Hour), givenURL},
		"one that does not open is made anew":                   {inviting(), func(f *lifecycle.Facts) { f.Account.Status.AuthorizationURL = "https://evil.example/" }, freshURL},
		"one that does not open is taken out":                   {inviting(), change(notReady, func(f *lifecycle.Facts) { f.Account.Status.AuthorizationURL = "https://evil.example/" }), ""},
		"one for an earlier consent is made anew":               {inviting(), change(given(time.Hour), func(f *lifecycle.Facts) { f.Account.Status.Authorization.Attempt, f.Consent.Fresh.Attempt = 2, 2 }), freshURL},
		"an account that works needs none":                      {connected(), given(time.Hour), ""},
		"unless one is always wanted":                           {connected(), always, freshURL},
		"one whose grant was ended does":                        {connected(), refusing(oauth.RefreshTokenRejected), freshURL},
		"one whose token was lost does":                         {connected(), refusing(lifecycle.RefreshTokenLost), freshURL},
		"one whose provider asks for the person does":           {connected(), failing(oauth.AuthorizationRequired, time.Minute, 0), freshURL},
		"one that was put back does":                            {connected(), func(f *lifecycle.Facts) { f.HighestRotation = 1 << 20 }, freshURL},
		"one whose provider has moved does":                     {connected(), endpoint("https://other.example/token"), freshURL},
		"one that is to have more scopes does":                  {connected(), func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"read", "write"} }, freshURL},
		"one that has fewer than it was asked for does":         {connected(), func(f *lifecycle.Facts) { f.Credential.RequestedScopes = []string{"read", "write"} }, freshURL},
		"one that is to be somebody else's does":                {connected(), func(f *lifecycle.Facts) { f.Account.Spec.ExpectedIdentity = "bob" }, freshURL},
		"one that may not ask for its scopes gets none":         {inviting(), func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"admin"} }, ""},
		"nor keeps one":                                         {inviting(), change(given(time.Hour), func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"admin"} }), ""},
		"one whose grant ends in a year does not":               {connected(), absolute(365 * 24 * time.Hour), ""},
		"one whose grant ends in less than two weeks does":      {connected(), absolute(14 * 24 * time.Hour * 6 / 5), ""},
		"one whose grant is in its last quarter does":           {connected(), absolute(32 * time.Hour), freshURL},
		"one whose grant has more than a quarter left does not": {connected(), absolute(34 * time.Hour), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.change(test.facts)
			test.facts.Account.Status = lifecycle.Status(test.facts, lifecycle.Done{}, noon())
			if got := test.facts.Account.Status.AuthorizationURL; got != test.want {
				t.Errorf("the link is %q, want %q", got, test.want)
			}
			if test.facts.Account.Status.AuthorizationURL == freshURL {
				test.facts.Consent.Link = test.facts.Consent.Fresh
				test.facts.Consent.Fresh.URL += "er"
			}
			again := lifecycle.Status(test.facts, lifecycle.Done{}, in(time.Hour))
			if again.AuthorizationURL != test.want {
				t.Errorf("an hour later it is %q", again.AuthorizationURL)
			}
		})
	}
}

func TestALinkIsNeverForAnotherConsentThanTheStatusNames(t *testing.T) {
	t.Parallel()
	f := inviting()
	given(time.Hour)(f)
	f.Account.Status.Authorization = v1alpha1.Authorization{}
	if status := lifecycle.Status(f, lifecycle.Done{}, noon()); status.AuthorizationURL != givenURL || status.Authorization.Attempt != 1 {
		t.Errorf("the link is %q, and the attempt %d: nobody can follow it", status.AuthorizationURL, status.Authorization.Attempt)
	}
}

func TestAnIdleGrantIsKeptAlive(t *testing.T) {
	t.Parallel()
	f := connected()
	f.Client.Spec.RefreshTokens.IdleLifetimeSeconds = int32((30 * 24 * time.Hour).Seconds())
	f.Credential.ExpirationTime = time.Time{} // the access token itself is good for ever
	for age, want := range map[time.Duration]lifecycle.Plan{18 * 24 * time.Hour: rests("nothing to do"), 20 * 24 * time.Hour: spends("refresh due", 1)} {
		aged := *f
		aged.Credential.IssuedTime = ago(age)
		if diff := cmp.Diff(want, lifecycle.Decide(&aged, noon())); diff != "" {
			t.Errorf("%v: %s", age, diff)
		}
		if wake := lifecycle.Wake(&aged, &aged.Account.Status, noon()); wake.IsZero() || wake.After(in(3*24*time.Hour)) {
			t.Errorf("%v: wakes at %v", age, wake)
		}
	}
	never := connected()
	never.Credential.ExpirationTime, never.Credential.IssuedTime = time.Time{}, ago(5*365*24*time.Hour)
	if diff := cmp.Diff(rests("nothing to do"), lifecycle.Decide(never, noon())); diff != "" {
		t.Errorf("a grant that is not known to end is used for nothing: %s", diff)
	}
}

func TestTheEndOfAGrantIsAnnounced(t *testing.T) {
	t.Parallel()
	f := connected()
	f.Client.Spec.RefreshTokens.AbsoluteLifetimeSeconds = int32((40 * time.Hour).Seconds()) // of which 24 have passed
	before := lifecycle.Status(f, lifecycle.Done{}, noon())
	if before.ConsentDueTime == nil || !before.ConsentDueTime.Equal(when(in(16*time.Hour))) {
		t.Errorf("it ends at %v", before.ConsentDueTime)
	}
	if got := said(before, v1alpha1.ConditionAuthorized); got != "True Authorized" {
		t.Errorf("before, Authorized is %q", got)
	}
	f.Account.Status = before
	f.Credential.IssuedTime, f.Credential.ExpirationTime = noon(), in(100*time.Hour)
	if wake := lifecycle.Wake(f, &before, noon()); wake.IsZero() || wake.After(in(6*time.Hour)) {
		t.Errorf("wakes at %v, when it is to be announced in six hours", wake)
	}
	after := lifecycle.Status(f, lifecycle.Done{}, in(6*time.Hour))
	for kind, want := range map[string]string{v1alpha1.ConditionAuthorized: "False ConsentDue", v1alpha1.ConditionReady: "True ConsentDue"} {
		if got := said(after, kind); got != want {
			t.Errorf("%s is %q, want %q", kind, got, want)
		}
	}
	if after.AuthorizationURL != freshURL {
		t.Errorf("the link is %q", after.AuthorizationURL)
	}
}

func TestADenialIsTakenUpOnce(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]v1alpha1.AuthorizationResult{"access_denied": v1alpha1.AuthorizationWasDenied, "server_error": v1alpha1.AuthorizationRejected} {
		f := inviting()
		f.Account.Status.Authorization.Denial = v1alpha1.AuthorizationDenial{Code: code, StateHash: "state-1", DeniedTime: when(noon())}
		if rule := lifecycle.Decide(f, noon()).Rule; rule != "denied" {
			t.Errorf("decided by %q", rule)
		}
		settle(f, lifecycle.Done{}, noon())
		known := f.Account.Status.Authorization
		if known.Denial.StateHash != "" || known.LastOutcome.Result != want || known.LastOutcome.StateHash != "state-1" || known.LastOutcome.Error != code || known.Failures.Count != 1 {
			t.Errorf("%s: %+v", code, known)
		}
	}
}

// Whoever takes over the part that faces the internet writes what they like there.
func TestADenialThatNobodyCanHaveMadeIsTakenOut(t *testing.T) {
	t.Parallel()
	for name, denial := range map[string]v1alpha1.AuthorizationDenial{
		"without a state": {Code: "access_denied", DeniedTime: when(in(73 * 365 * 24 * time.Hour))},
		"without a code":  {StateHash: "state-1"},
		"with a text":     {Code: "call +49 89 12345 now", StateHash: "state-1", DeniedTime: when(noon())},
	} {
		f := inviting()
		f.Account.Status.Authorization.Denial = denial
		settle(f, lifecycle.Done{}, noon())
		known := f.Account.Status.Authorization
		if known.Denial != (v1alpha1.AuthorizationDenial{}) || strings.Contains(known.LastOutcome.Reason, "12345") {
			t.Errorf("%s: %+v", name, known)
		}
	}
}

// S47: an answer to a refresh that names no scopes does not narrow what the person granted.
func TestS47AGrantBeyondTheCeilingIsNotPublishedAfterARefresh(t *testing.T) {
	t.Parallel()
	f := connected()
	f.Account.Spec.ClientRef.Namespace, f.Client.Namespace = "platform", "platform"
	f.Client.Spec.Scopes = []v1alpha1.Scope{"read", "admin"}
	f.Client.Spec.AllowedNamespaces = []v1alpha1.AllowedNamespaces{{From: v1alpha1.NamespacesFromAll, Scopes: []v1alpha1.Scope{"read"}}}
	f.Account.Spec.Scopes = []v1alpha1.Scope{"read"}
	f.Credential.ClientNamespace, f.Credential.Scopes, f.Credential.GrantedScopes = "platform", []string{"read"}, []string{"read"}
	f.Secret = lifecycle.SecretStale
	if !lifecycle.Decide(f, noon()).Publish {
		t.Fatal("what is within the ceiling is not published")
	}
	f.Credential.GrantedScopes = []string{"read", "admin"}
	if plan := lifecycle.Decide(f, noon()); plan.Publish {
		t.Errorf("what can do more than the ceiling allows is published: %+v", plan)
	}
	if got := lifecycle.Status(f, lifecycle.Done{}, noon()).AuthorizationURL; got != freshURL {
		t.Errorf("nobody can consent to less: the link is %q", got)
	}
}

func TestFailedConsentsAreCountedForAnHour(t *testing.T) {
	t.Parallel()
	f := inviting()
	fail := func(at time.Time) int32 {
		f.Account.Status.Authorization.Denial = v1alpha1.AuthorizationDenial{Code: "access_denied", StateHash: "state", DeniedTime: when(at)}
		f.Account.Status = lifecycle.Status(f, lifecycle.Done{}, at)
		return f.Account.Status.Authorization.Failures.Count
	}
	for i := range int32(5) {
		if got := fail(in(time.Duration(i) * time.Minute)); got != i+1 {
			t.Errorf("%d failures, want %d", got, i+1)
		}
	}
	if got := fail(in(time.Hour)); got != 1 {
		t.Errorf("an hour after the first, there are %d", got)
	}
}

func TestWhatACodeBringsIsKeptAsANewGrant(t *testing.T) {
	t.Parallel()
	f := connected()
	change(given(time.Hour), handsOver(time.Second), exchanges(lifecycle.ClaimInDoubt, 0), claimed(lifecycle.ClaimForeign, 2, 0), failing(oauth.OutcomeUnknown, time.Minute, time.Hour))(f)
	s := lifecycle.Spending{ClaimID: "claim-11", ClaimSequence: 11, Attempt: 1, Code: true, HandOverID: "over-1", StateHash: "state-1", ConsentAttempt: 2}
	next := f.Credential
	next.GrantSequence, next.Rotation, next.ClaimSequence, next.Identity = 3, 5, 11, "alice"
	status := f.Account.Status
	if !lifecycle.MayKeep(&status, f.Credential, next.Version(), s) {
		t.Fatal("it is not kept")
	}
	lifecycle.Kept(&status, f.Credential, next.Version(), s)
	lifecycle.CodeKept(f, &status, next, s, noon())
	known := status.Authorization
	switch {
	case known.HandOver.ID != "" || known.Exchange.ID != "":
		t.Error("the code is still there")
	case known.Attempt != 3 || status.AuthorizationURL != "":
		t.Errorf("the link that led to it is still good: attempt %d", known.Attempt)
	case known.LastOutcome.Result != v1alpha1.AuthorizationConnected || known.LastOutcome.Identity != "alice" || known.LastOutcome.StateHash != "state-1":
		t.Errorf("the outcome is %+v", known.LastOutcome)
	case status.Claim.ID != "" || status.DoubtSequence != 0:
		t.Error("a claim or a doubt of the old grant stands")
	case status.Failures.Count != 0:
		t.Error("the failures of the old grant are still there")
	}
	// A result of the old grant that comes later is dropped, whatever its rotation.
	old := lifecycle.Version{Grant: heldGrant, Rotation: 99, Claim: 10}
	if lifecycle.MayKeep(&status, next, old, lifecycle.Spending{ClaimID: "claim-10", ClaimSequence: 10, Attempt: 1}) {
		t.Error("S15: the older grant wins")
	}
}

func TestACodeThatCameToNothingIsNeverSentAgain(t *testing.T) {
	t.Parallel()
	mine := lifecycle.Spending{ClaimID: "claim-11", ClaimSequence: 11, Attempt: 1, Code: true, HandOverID: "over-1", StateHash: "state-1"}
	other := mine
	other.ClaimID = "claim-12"
	for class, want := range map[oauth.Class]v1alpha1.AuthorizationResult{
		oauth.RefreshTokenRejected: v1alpha1.AuthorizationRejected, oauth.RequestRejected: v1alpha1.AuthorizationRejected, oauth.ClientRejected: v1alpha1.AuthorizationRejected,
		oauth.Throttled: v1alpha1.AuthorizationRejected, oauth.AuthorizationDenied: v1alpha1.AuthorizationRejected, oauth.AuthorizationRequired: v1alpha1.AuthorizationRejected,
		oauth.OutcomeUnknown: v1alpha1.AuthorizationInDoubt, oauth.InvalidResponse: v1alpha1.AuthorizationInDoubt, lifecycle.SubjectChanged: v1alpha1.AuthorizationSubjectChanged,
		oauth.NotSent: "",
	} {
		f := connected()
		change(handsOver(time.Second), exchanges(lifecycle.ClaimInDoubt, 0))(f)
		status := *f.Account.Status.DeepCopy()
		lifecycle.CodeFailed(&status, lifecycle.Failure{Class: class, Message: strings.Repeat("x", 600)}, "mallory", mine, noon())
		known := status.Authorization
		if unsent := class == oauth.NotSent; (known.HandOver.ID != "") != unsent || status.Failures.Count > 0 || known.Exchange.ID != "" || known.LastOutcome.Result != want {
			t.Errorf("%s: %+v", class, known)
		}
		if len(known.LastOutcome.Reason) > 512 {
			t.Errorf("%s: the schema does not take the reason", class)
		}
		status = *f.Account.Status.DeepCopy()
		lifecycle.CodeFailed(&status, lifecycle.Failure{Class: class}, "", other, noon())
		if status.Authorization.Exchange.ID == "" || status.Authorization.HandOver.ID == "" {
			t.Errorf("%s: under another's claim it clears that", class)
		}
	}
}

func TestWhoseAccessItIs(t *testing.T) {
	t.Parallel()
	f := connected()
	account := f.Account
	for _, test := range []struct {
		expected, held, comes string
		asked                 bool
		want                  string
	}{
		{"", "", "", true, ""},
		{"", "", "alice", true, ""},
		{"", "alice", "alice", true, ""},
		{"", "alice", "bob", true, "somebody else"},
		{"", "alice", "", true, "does not say"},
		{"", "alice", "", false, ""},
		{"bob", "alice", "bob", true, ""},
		{"bob", "alice", "alice", true, "somebody else"},
		{"bob", "", "", true, "does not say"},
		{"bob", "", "", false, "does not say"},
		{"bob", "", "Bob", true, "somebody else"},
	} {
		account.Spec.ExpectedIdentity, f.Credential.Identity = test.expected, test.held
		got := lifecycle.OtherSubject(account, f.Credential, test.comes, test.asked)
		if (got == nil) != (test.want == "") || got != nil && !strings.Contains(got.Message, test.want) {
			t.Errorf("expected %q, held %q, comes %q: %v", test.expected, test.held, test.comes, got)
		}
	}
}

func approves(f *lifecycle.Facts) { f.Account.Spec.Consent.Approval = v1alpha1.ApprovalRequired }

// S29, and S45: nothing is published before somebody has approved of whom the status names, and approval of somebody else is
// none.
func TestS29WhatNobodyHasApprovedOfIsNotPublished(t *testing.T) {
	t.Parallel()
	gone := func(f *lifecycle.Facts) { f.Secret = lifecycle.SecretAbsent }
	publishes := func(rule string, action lifecycle.Action) lifecycle.Plan {
		return lifecycle.Plan{Rule: rule, Action: action, Publish: true}
	}
	approved := func(f *lifecycle.Facts) { f.Credential.Approved = true }
	decideAll(t, map[string]planCase{
		"a token waits for approval":                            {connected(), change(approves, gone), rests("nothing to do")},
		"approval of somebody else is none":                     {connected(), change(approves, gone, annotate(v1alpha1.AnnotationApprove, "bob")), rests("nothing to do")},
		"nor is approval of nobody":                             {connected(), change(approves, gone, annotate(v1alpha1.AnnotationApprove, "")), rests("nothing to do")},
		"nor of a number, where there is a name":                {connected(), change(approves, gone, annotate(v1alpha1.AnnotationApprove, "2")), rests("nothing to do")},
		"approval of whom the status names is":                  {connected(), change(approves, gone, annotate(v1alpha1.AnnotationApprove, "alice")), publishes("approval given", lifecycle.Approve)},
		"where nobody is named, the number is":                  {connected(), change(approves, gone, nameless, annotate(v1alpha1.AnnotationApprove, "consent/2")), publishes("approval given", lifecycle.Approve)},
		"a number alone is nobody's name, and no number":        {connected(), change(approves, gone, nameless, annotate(v1alpha1.AnnotationApprove, "2")), rests("nothing to do")},
		"approval of a number is none of whom it could name":    {connected(), change(approves, gone, called("2"), annotate(v1alpha1.AnnotationApprove, "consent/2")), rests("nothing to do")},
		"nor of whoever calls themselves like a number":         {connected(), change(approves, gone, called("consent/2"), annotate(v1alpha1.AnnotationApprove, "consent/2")), rests("nothing to do")},
		"who is approved of as what they are called":            {connected(), change(approves, gone, called("consent/2"), annotate(v1alpha1.AnnotationApprove, "name/consent/2")), publishes("approval given", lifecycle.Approve)},
		"nor is that approval of whoever calls themselves this": {connected(), change(approves, gone, called("name/consent/2"), annotate(v1alpha1.AnnotationApprove, "name/consent/2")), rests("nothing to do")},
		"what was approved stays so":                            {connected(), change(approves, gone, approved), publishes("nothing to do", lifecycle.Rest)},
		"what was imported needs none":                          {connected(), change(approves, gone, func(f *lifecycle.Facts) { f.Credential.GrantTime = time.Time{} }), publishes("nothing to do", lifecycle.Rest)},
		"a token that waits is refreshed all the same": {connected(), change(approves, func(f *lifecycle.Facts) {
			f.Credential.IssuedTime, f.Credential.ExpirationTime = ago(50*time.Minute), in(10*time.Minute)
		}), spends("refresh due", 1)},
	})
}

func nameless(f *lifecycle.Facts) { f.Credential.Identity = "" }

// called is whose access the account holds.
func called(name string) func(*lifecycle.Facts) {
	return func(f *lifecycle.Facts) { f.Credential.Identity = name }
}

// consentStates are the rows of the table of states that a person's part adds.
func consentStates() []health {
	unpublished := func(f *lifecycle.Facts) {
		approves(f)
		f.Secret = lifecycle.SecretAbsent
		f.Account.Status.Conditions = nil
	}
	outcome := func(result v1alpha1.AuthorizationResult) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			f.Account.Status.Authorization.LastOutcome = v1alpha1.AuthorizationOutcome{StateHash: "state-1", Result: result, OutcomeTime: when(ago(time.Hour))}
		}
	}
	endless := func(f *lifecycle.Facts) {
		f.Credential.HasRefreshToken, f.Credential.Fingerprint, f.Credential.ExpirationTime = false, "", time.Time{}
	}
	ends := func(f *lifecycle.Facts) { f.Credential.HasRefreshToken, f.Credential.Fingerprint = false, "" }
	return []health{
		{"a person is waited for, who has the link", with(inviting), "False AuthorizationRequired", awaitsPerson(), person},
		{"a person is waited for, and the pages have no address", with(inviting, func(f *lifecycle.Facts) { f.Consent.BaseURL = "" }), "False AuthorizationRequired", awaitsPerson(), platform},
		{"a person is waited for, and the account is suspended", with(inviting, func(f *lifecycle.Facts) { f.Account.Spec.Suspend = true }), "False AuthorizationRequired", awaitsPerson(), owner},
		{"a person is waited for, and the keyring has no keys for links", with(inviting, func(f *lifecycle.Facts) { f.Consent.KeysMissing = true }), "False AuthorizationRequired", awaitsPerson(), platform},
		{"the person's code is being exchanged", with(inviting, handsOver(time.Second)), "False AuthorizationPending", progresses(), nobody},
		{"the person's code is being exchanged by another replica", with(inviting, handsOver(time.Second), exchanges(lifecycle.ClaimForeign, 0)), "False AuthorizationPending", progresses(), nobody},
		{"the person's code is being exchanged, with a token of before", with(connected, handsOver(time.Second)), "True TokenValid", current(), nobody},
		{"the person said no", with(inviting, outcome(v1alpha1.AuthorizationWasDenied)), "False AuthorizationDenied", awaitsPerson(), person},
		{"the person said no, with a token of before", with(connected, outcome(v1alpha1.AuthorizationWasDenied)), "True TokenValid", current(), nobody},
		{"somebody else consented", with(inviting, outcome(v1alpha1.AuthorizationSubjectChanged)), "False SubjectChanged", awaitsPerson(), person},
		{"somebody else consented, with a token of before", with(connected, outcome(v1alpha1.AuthorizationSubjectChanged)), "True SubjectChanged", current(), owner},
		{"somebody else is expected by now", with(connected, func(f *lifecycle.Facts) { f.Account.Spec.ExpectedIdentity = "bob" }), "True SubjectChanged", current(), owner},
		{"a refresh brought somebody else's access", func(f *lifecycle.Facts) lifecycle.Done {
			with(connected)(f)
			return lifecycle.Done{Failure: &lifecycle.Failure{Class: lifecycle.SubjectChanged, Message: "no token came"}}
		}, "True SubjectChanged", current(), owner},
		{"nobody has approved yet", with(connected, unpublished), "False ApprovalRequired", awaitsPerson(), owner},
		{"the grant ends soon", with(connected, func(f *lifecycle.Facts) { f.Client.Spec.RefreshTokens.AbsoluteLifetimeSeconds = 90000 }), "True ConsentDue", current(), person},
		{"more scopes are wanted than were granted", with(connected, func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"read", "write"} }), "True ScopeReduced", current(), person},
		{"an access token without an end, and no refresh token", with(connected, endless), "True TokenValid", current(), nobody},
		{"an access token that ends, and no refresh token", with(connected, ends, usedUp), "False ConsentDue", awaitsPerson(), person},
	}
}

func TestWhatIsSaidOfAConsentIsWhatToDo(t *testing.T) {
	t.Parallel()
	came := func(code, reason string) func(*lifecycle.Facts) {
		return func(f *lifecycle.Facts) {
			f.Account.Status.Authorization.LastOutcome = v1alpha1.AuthorizationOutcome{Result: v1alpha1.AuthorizationRejected, Error: code, Reason: reason}
		}
	}
	tokenless := func(f *lifecycle.Facts) { f.Credential.HasRefreshToken, f.Credential.Fingerprint = false, "" }
	for name, test := range map[string]struct {
		account func(*lifecycle.Facts) lifecycle.Done
		says    []string
	}{
		"where the link is":     {with(inviting), []string{"the link in status.authorizationURL"}},
		"which flag is missing": {with(inviting, func(f *lifecycle.Facts) { f.Consent.BaseURL = "" }), []string{"--consent-url"}},
		"which keys are":        {with(inviting, func(f *lifecycle.Facts) { f.Consent.KeysMissing = true }), []string{"handover-keyset.json"}},
		"which field is": {with(inviting, func(f *lifecycle.Facts) {
			f.Account.Spec.ExpectedIdentity, f.Client.Spec.TokenResponse.Identity.Pointer = "bob", ""
		}), []string{"spec.tokenResponse.identity"}},
		"how to approve":                    {with(connected, approves), []string{"kubectl annotate --overwrite connectedaccount -n shop acme oauth-operator.dev/approve='alice'"}},
		"what to do about the wrong person": {with(connected, approves), []string{"spec.expectedIdentity"}},
		"and about nobody":                  {with(connected, approves, nameless), []string{"spec.consent.link: Always"}},
		"how to approve of a quote":         {with(connected, approves, func(f *lifecycle.Facts) { f.Credential.Identity = "o'neill" }), []string{`approve='o'\''neill'`}},
		"how to approve of nobody":          {with(connected, approves, nameless), []string{"approve='consent/2'"}},
		"which scopes are missing":          {with(connected, func(f *lifecycle.Facts) { f.Account.Spec.Scopes = []v1alpha1.Scope{"write"} }), []string{"scopes write", "status.authorizationURL"}},
		"why it came to nothing": {with(inviting, came("invalid_request", "the provider answered with the error invalid_request")), []string{
			"invalid_request", "authorizationRequest", "status.authorizationURL",
		}},
		"and why the code did not":                    {with(inviting, came("", "the secret is wrong")), []string{"the secret is wrong. Have the person"}},
		"what to ask for where no refresh token came": {with(connected, tokenless), []string{"offline_access", "authorizationRequest.parameters"}},
		"and when the access ends":                    {with(connected, tokenless, usedUp), []string{"offline_access", "status.authorizationURL"}},
	} {
		f := inviting()
		test.account(f)
		message := condition(lifecycle.Status(f, lifecycle.Done{}, noon()), v1alpha1.ConditionAuthorized).Message
		for _, word := range test.says {
			if !strings.Contains(message, word) {
				t.Errorf("%s: %q is not said: %s", name, word, message)
			}
		}
	}
}

// A code in the status is never forgotten: there is always a next time at which it is looked at.
func TestACodeIsAlwaysLookedAtAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*lifecycle.Facts){
		"exchanged by another": change(handsOver(time.Second), exchanges(lifecycle.ClaimForeign, 10*time.Second)),
		"exchanged here":       change(handsOver(time.Second), exchanges(lifecycle.ClaimInDoubt, 0), func(f *lifecycle.Facts) { f.ExchangeOpen = true }),
		"without a slot":       change(handsOver(time.Second), func(f *lifecycle.Facts) { f.NoSlot = true }),
		"suspended":            change(handsOver(time.Second), suspended),
		"without a client":     change(handsOver(time.Second), func(f *lifecycle.Facts) { f.Client = nil }),
		"ready to be sent":     handsOver(time.Second),
	} {
		f := inviting()
		change(f)
		next := lifecycle.Status(f, lifecycle.Done{}, noon())
		wake := lifecycle.Wake(f, &next, noon())
		if wake.IsZero() || wake.Before(noon()) || wake.After(in(10*time.Minute)) {
			t.Errorf("%s: wakes at %v", name, wake)
		}
	}
}

// S29: whoever has the link and comes first cannot keep the right person out for good.
func TestS29AnApprovalThatIsNotGivenIsNoDeadEnd(t *testing.T) {
	t.Parallel()
	f := connected()
	approves(f)
	f.Account.Spec.ExpectedIdentity = "bob"
	settle(f, lifecycle.Done{}, noon())
	if f.Account.Status.AuthorizationURL != freshURL || lifecycle.OtherSubject(f.Account, f.Credential, "bob", true) != nil {
		t.Errorf("the right person cannot come: the link is %q", f.Account.Status.AuthorizationURL)
	}
	f = connected()
	change(approves, nameless)(f)
	f.Account.Spec.Consent.Link = v1alpha1.LinkAlways
	settle(f, lifecycle.Done{}, noon())
	if f.Account.Status.AuthorizationURL != freshURL || lifecycle.OtherSubject(f.Account, f.Credential, "", true) != nil {
		t.Errorf("the right person, whom nobody names, cannot come: the link is %q", f.Account.Status.AuthorizationURL)
	}
}

// S29: whoever came first, and was not approved of, does not keep the right person out, who has the same link.
func TestS29WhatWaitsForApprovalGivesWay(t *testing.T) {
	t.Parallel()
	waiting := func() *lifecycle.Facts {
		f := connected()
		approves(f)
		f.Secret = lifecycle.SecretAbsent
		f.Account.Status.Authorization.Attempt = 1
		f.Consent.Fresh.Attempt = 1
		given(time.Hour)(f)
		settle(f, lifecycle.Done{}, noon())
		return f
	}
	f := waiting()
	if !lifecycle.GivesWay(f) || f.Account.Status.AuthorizationURL != givenURL || f.Account.Status.Authorization.Attempt != 1 {
		t.Fatalf("the link is not good any more: %q, %d", f.Account.Status.AuthorizationURL, f.Account.Status.Authorization.Attempt)
	}
	if plan := lifecycle.Decide(edited(f, handsOver(time.Second)), noon()); plan.Rule != "code handed over" {
		t.Errorf("the next one's code: %q", plan.Rule)
	}

	next := f.Credential
	next.Identity, next.GrantSequence = "bob", next.GrantSequence+1
	for n := int32(1); n <= 2; n++ {
		status := *f.Account.Status.DeepCopy()
		lifecycle.CodeKept(f, &status, next, lifecycle.Spending{Code: true, StateHash: "state-2", ConsentAttempt: 1}, noon())
		if status.AuthorizationURL == "" || status.Authorization.Attempt != 1 || status.Authorization.LastOutcome.Result != v1alpha1.AuthorizationNeedsApproval {
			t.Errorf("after the next one: %q, %+v", status.AuthorizationURL, status.Authorization)
		}
		if status.Authorization.Failures.Count != n {
			t.Errorf("two who replace each other: counted %d times, not %d", status.Authorization.Failures.Count, n)
		}
		f.Account.Status = status
	}

	for name, end := range map[string]func(*lifecycle.Facts){
		"approval":                 change(func(f *lifecycle.Facts) { f.Credential.Approved = true }, annotate(v1alpha1.AnnotationApprove, "alice")),
		"that nobody need approve": func(f *lifecycle.Facts) { f.Account.Spec.Consent.Approval = v1alpha1.ApprovalNotRequired },
		"approval, where a link is": func(f *lifecycle.Facts) {
			f.Credential.Approved, f.Account.Spec.Consent.Link = true, v1alpha1.LinkAlways
		},
		"approval that is not sealed": annotate(v1alpha1.AnnotationApprove, "alice"),
	} {
		f := waiting()
		end(f)
		settle(f, lifecycle.Done{}, noon())
		if lifecycle.GivesWay(f) || f.Account.Status.Authorization.Attempt != 2 || f.Account.Status.AuthorizationURL == givenURL {
			t.Errorf("%s ends the link that led there: %q, %d", name, f.Account.Status.AuthorizationURL, f.Account.Status.Authorization.Attempt)
		}
	}

	f = connected() // and is published
	approves(f)
	settle(f, lifecycle.Done{}, noon())
	if lifecycle.GivesWay(f) || f.Account.Status.AuthorizationURL != "" {
		t.Error("what was in use gives way because somebody wants it approved of now")
	}
}

// edited is the facts with a change.
func edited(f *lifecycle.Facts, edit func(*lifecycle.Facts)) *lifecycle.Facts {
	known := *f
	known.Account = f.Account.DeepCopy()
	edit(&known)
	return &known
}
