package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
)

// row is one behaviour of the other side, and what must come of it under each grant. Its id is that of hostile_list_test.go,
// or one with an X for what is on no list.
//
// Rows are made by each and by the functions below it. All of them take, or say by their name, a verdict for each grant;
// A code is judged as a refresh is: it is spent by sending it, too. A verdict is made of a class, a number of requests and the credential that the account has afterwards. A row that
// leaves one of them out does not compile.
type row struct {
	id, behaviour        string
	scene                scene
	credentials, refresh verdict
	says                 string        // is part of the reason
	wait                 time.Duration // is what Retry-After must come to
	check                func(*testing.T, oauth.Answer)
	bounds
}

// bounds are the time limits of one row: of the connecting, and of the request.
type bounds struct{ connect, send time.Duration }

// patience is for what ends by itself: a machine that has much to do reads 1 MiB for a while.
const patience = 2 * time.Minute

// verdict is what must come of a behaviour under one grant.
type verdict struct {
	class    oauth.Class // "" where a token came
	requests int         // whole ones, as the raw server has counted them
	after    credential
}

func fails(class oauth.Class, requests int, after credential) verdict {
	return verdict{class, requests, after}
}

func succeeds(requests int, after credential) verdict { //nolint:unparam // no verdict without its number of requests
	return verdict{"", requests, after}
}

// credential is what an account holds.
type credential struct{ access, refresh string }

// unchanged is the credential that each row begins with.
func unchanged() credential { return credential{"pl4nted-held-access", heldRefreshToken} }

// newAccess is the credential with another access token, newRefresh with another refresh token, newTokens with both.
func newAccess(token string) credential { return credential{token, unchanged().refresh} }

func newRefresh(token string) credential { return credential{unchanged().access, token} }

func newTokens(access, refresh string) credential { return credential{access, refresh} }

// keep takes over what an exchange brought, whether or not an error came with it.
func (c credential) keep(answer oauth.Answer) credential {
	if !answer.AccessToken.Empty() {
		c.access = answer.AccessToken.Reveal()
	}
	if !answer.RefreshToken.Empty() {
		c.refresh = answer.RefreshToken.Reveal()
	}
	return c
}

func each(id, behaviour string, credentials, refresh verdict, s scene) row {
	return row{id: id, behaviour: behaviour, scene: s, credentials: credentials, refresh: refresh, bounds: bounds{connect: long, send: patience}}
}

func both(id, behaviour string, v verdict, s scene) row { return each(id, behaviour, v, v, s) }

// unsent: not one whole request, and nothing is spent.
func unsent(id, behaviour string, s scene) row {
	return both(id, behaviour, fails(oauth.NotSent, 0, unchanged()), s)
}

// doubtful: one request, and nobody knows what came of it.
func doubtful(id, behaviour string, s scene) row {
	return both(id, behaviour, fails(oauth.OutcomeUnknown, 1, unchanged()), s)
}

// invalid: one request, and a whole answer of which nothing can be used.
func invalid(id, behaviour string, s scene) row {
	return both(id, behaviour, fails(oauth.InvalidResponse, 1, unchanged()), s)
}

// refused: one request, and a no to it.
func refused(id, behaviour string, credentials, refresh oauth.Class, s scene) row {
	return each(id, behaviour, fails(credentials, 1, unchanged()), fails(refresh, 1, unchanged()), s)
}

// salvaged: one request, and an answer of which nothing can be used but the refresh token "new".
func salvaged(id, behaviour string, s scene) row {
	return each(id, behaviour, fails(oauth.InvalidResponse, 1, unchanged()), fails(oauth.InvalidResponse, 1, newRefresh("new")), s)
}

// taken: one request, and an answer that is used. A refresh token in it counts in a refresh alone.
func taken(id, behaviour, access, refresh string, s scene) row {
	return each(id, behaviour, succeeds(1, newAccess(access)), succeeds(1, newTokens(access, refresh)), s)
}

// saying adds a part of the reason, waiting a wait, having a check of the answer.
func (r row) saying(words string) row { r.says = words; return r }

func (r row) waiting(wait time.Duration) row { r.wait = wait; return r }

func (r row) having(check func(*testing.T, oauth.Answer)) row { r.check = check; return r }

// shortly is for what never ends: the limit of the request is short. slowly is for what never begins.
func (r row) shortly() row { r.send = short; return r }

func (r row) slowly() row { r.connect = short; return r }

// TestHostile plays every row with both grants. Not parallel, though its rows are: it watches the process's log meanwhile,
// where net/http puts what a server sends unasked.
func TestHostile(t *testing.T) { //nolint:tparallel // the log is one for all
	said := new(logged)
	before := log.Writer()
	log.SetOutput(said)
	t.Cleanup(func() {
		log.SetOutput(before)
		if n := said.bytes.Load(); n > 0 {
			t.Errorf("%d bytes were written to the log", n)
		}
	})
	words := vocabulary(t)
	names := map[string]bool{}
	for _, r := range allRows() {
		name := r.id + " " + r.behaviour
		if names[name] {
			t.Errorf("two rows are called %s", name)
		}
		names[name] = true
		for grant, want := range map[oauth.GrantType]verdict{oauth.GrantClientCredentials: r.credentials, oauth.GrantRefreshToken: r.refresh, oauth.GrantAuthorizationCode: r.refresh} {
			t.Run(name+"/"+string(grant), func(t *testing.T) {
				t.Parallel()
				play(t, words, r, grant, want)
			})
		}
	}
}

// allRows is the whole table; each part of it has a file.
func allRows() []row {
	return slices.Concat(
		transportRows(), encodingRows(), redirectRows(), certificateRows(), addressRows(), connectionRows(), framingRows(),
		statusRows(), bodyRows(), duplicateRows(), errorRows(), throttleRows(),
		tokenRows(), byteRows(), lifetimeRows(), scopeRows(), rotationRows(), configurationRows(),
	)
}

func play(t *testing.T, words map[string]bool, r row, grant oauth.GrantType, want verdict) {
	t.Helper()
	stage := r.scene(t)
	reg := registration(stage.endpoint)
	if stage.register != nil {
		stage.register(&reg)
	}
	reg.Timeout = r.connect
	client := newClient(t, stage.options)
	began := time.Now()
	got, err := askOnce(t, client, reg, grant, r.send)
	// What is ended by a limit ends soon after it.
	if elapsed := time.Since(began); min(r.connect, r.send) == short && elapsed > long {
		t.Errorf("took %s", elapsed)
	}
	if requests := stage.requests(t, want.requests); requests != want.requests {
		t.Errorf("the server saw %d requests, want %d", requests, want.requests)
	}
	if diff := cmp.Diff(want.after, unchanged().keep(got), cmp.AllowUnexported(credential{})); diff != "" {
		t.Errorf("the credential afterwards: %s", diff)
	}
	if want.class != "" {
		checkRefusal(t, words, r, grant, want.class, got, err)
		return
	}
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	checkFuzzedAnswer(t, got, grant, 200)
	if r.check != nil {
		r.check(t, got)
	}
}

// askOnce makes one exchange in its three steps, so that a limit never ends it before its connection is in hand; and
// judges the reply a second time after it was stored.
func askOnce(t *testing.T, client *oauth.Client, reg oauth.Registration, grant oauth.GrantType, limit time.Duration) (oauth.Answer, error) {
	t.Helper()
	request := credentials("scope1")
	switch grant {
	case oauth.GrantRefreshToken:
		request = refreshWith(unchanged().refresh)
	case oauth.GrantAuthorizationCode:
		request = redeem(testCode)
	case oauth.GrantClientCredentials:
	}
	ready, err := client.Ready(t.Context(), reg, request)
	if err != nil {
		return oauth.Answer{}, err
	}
	defer ready.Close()
	reply, err := ready.Send(t.Context(), time.Now(), limit)
	if err != nil {
		return oauth.Answer{}, err
	}
	checkSurvivesStorage(t, reply, grant)
	return reply.Judge(grant)
}

// checkRefusal asserts class, reason and wait, that nothing planted and nothing of the server's shows, and that nothing
// came beside the error but a refresh token and its time.
func checkRefusal(t *testing.T, words map[string]bool, r row, grant oauth.GrantType, class oauth.Class, got oauth.Answer, err error) {
	t.Helper()
	checkFailure(t, err, class)
	failure := failureOf(t, err)
	checkFuzzedError(t, words, failure)
	checkSalvaged(t, got, failure, grant)
	if !strings.Contains(failure.Reason, r.says) {
		t.Errorf("the reason %q does not say %q", failure.Reason, r.says)
	}
	if r.wait != 0 && failure.RetryAfter != r.wait {
		t.Errorf("wait %s, want %s", failure.RetryAfter, r.wait)
	}
	if r.check != nil {
		t.Error("the row wants an answer that it does not want")
	}
}

// failureOf gives the error as the one type that there is.
func failureOf(t *testing.T, err error) *oauth.Error {
	t.Helper()
	var failure *oauth.Error
	if !errors.As(err, &failure) {
		t.Fatalf("error %T (%v) is not an *oauth.Error", err, err)
	}
	return failure
}

// checkFailure asserts the class, a reason, and that nothing planted shows.
func checkFailure(t *testing.T, err error, class oauth.Class) {
	t.Helper()
	failure := failureOf(t, err)
	if failure.Class != class {
		t.Errorf("class %s, want %s: %v", failure.Class, class, err)
	}
	if failure.Reason == "" {
		t.Error("no reason given")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for ; err != nil; err = errors.Unwrap(err) {
			text := fmt.Sprintf(verb, err)
			for _, planted := range []string{testClientSecret, testToken, testRefreshToken, heldRefreshToken, testCode, testVerifier} {
				if found := leaks(text, planted); len(found) > 0 {
					t.Errorf("the error holds a secret as %v", found)
				}
			}
		}
		err = failure
	}
}

// checkCause asserts that the cause of an error is one of this process, and not the server's words.
func checkCause(t *testing.T, cause error) {
	t.Helper()
	var number syscall.Errno
	if cause == nil || errors.As(cause, &number) || strings.HasPrefix(cause.Error(), "address ") {
		return
	}
	known := []error{context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF, io.EOF}
	if !slices.ContainsFunc(known, func(one error) bool { return errors.Is(cause, one) }) {
		t.Errorf("the cause %q may be the server's", cause)
	}
}

// lives, livesUnknown, scoped and usable look at an answer.
func lives(want time.Duration, warnings ...oauth.Warning) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		if got.Lifetime == nil || *got.Lifetime != want {
			t.Errorf("lifetime %v, want %v", got.Lifetime, want)
		}
		usable(warnings...)(t, got)
	}
}

func livesUnknown(warnings ...oauth.Warning) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		if got.Lifetime != nil {
			t.Errorf("lifetime %v, want none", *got.Lifetime)
		}
		usable(warnings...)(t, got)
	}
}

func scoped(want ...string) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		if scopes := got.Scopes(); scopes == nil || !slices.Equal(scopes, want) {
			t.Errorf("scopes %v, want %v", scopes, want)
		}
	}
}

// usable compares the warnings. That a refresh token is ignored depends on the grant and not on the row.
func usable(warnings ...oauth.Warning) func(*testing.T, oauth.Answer) {
	return func(t *testing.T, got oauth.Answer) {
		t.Helper()
		given := slices.DeleteFunc(slices.Clone(got.Warnings), func(w oauth.Warning) bool { return w == oauth.RefreshTokenIgnored })
		if !slices.Equal(given, warnings) {
			t.Errorf("warnings %v, want %v", given, warnings)
		}
	}
}
