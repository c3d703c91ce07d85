package oauth_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// start is the time at which the answers are received.
func start() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }

func TestErrorCodes(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]struct{ credentials, refresh oauth.Class }{
		"invalid_client":          {oauth.ClientRejected, oauth.ClientRejected},
		"unauthorized_client":     {oauth.ClientRejected, oauth.ClientRejected},
		"invalid_request":         {oauth.RequestRejected, oauth.RequestRejected},
		"invalid_scope":           {oauth.RequestRejected, oauth.RequestRejected},
		"unsupported_grant_type":  {oauth.RequestRejected, oauth.RequestRejected},
		"invalid_target":          {oauth.RequestRejected, oauth.RequestRejected},
		"unsupported_token_type":  {oauth.RequestRejected, oauth.RequestRejected},
		"invalid_grant":           {oauth.ClientRejected, oauth.RefreshTokenRejected},
		"bad_refresh_token":       {oauth.ClientRejected, oauth.RefreshTokenRejected},
		"access_denied":           {oauth.ClientRejected, oauth.AuthorizationDenied},
		"consent_required":        {oauth.ClientRejected, oauth.AuthorizationRequired},
		"login_required":          {oauth.ClientRejected, oauth.AuthorizationRequired},
		"interaction_required":    {oauth.ClientRejected, oauth.AuthorizationRequired},
		"expired_token":           {oauth.ClientRejected, oauth.AuthorizationRequired},
		"slow_down":               {oauth.Throttled, oauth.Throttled},
		"server_error":            {oauth.OutcomeUnknown, oauth.OutcomeUnknown},
		"temporarily_unavailable": {oauth.OutcomeUnknown, oauth.OutcomeUnknown},
	} {
		for _, status := range []int{200, 400, 401, 403, 500, 503} {
			for grant, class := range map[oauth.GrantType]oauth.Class{oauth.GrantClientCredentials: want.credentials, oauth.GrantRefreshToken: want.refresh} {
				_, err := oauth.Judge(status, http.Header{}, []byte(`{"error":"`+code+`","access_token":"a"}`), grant, start())
				checkFailure(t, err, class)
				failure := failureOf(t, err)
				if failure.Code != code || failure.Status != status {
					t.Errorf("%s with %d: code %q, status %d", code, status, failure.Code, failure.Status)
				}
			}
		}
	}
}

func TestUnrecognisedErrorCodes(t *testing.T) {
	t.Parallel()
	for _, code := range []string{`"Invalid_Client"`, `"invalid_client "`, `"x"`, `""`, `7`, `false`, `{}`, `[]`, `"invalid_client\u0000"`} {
		_, err := oauth.Judge(400, http.Header{}, []byte(`{"error":`+code+`}`), oauth.GrantRefreshToken, start())
		checkFailure(t, err, oauth.RequestRejected)
		if failure := failureOf(t, err); failure.Code != oauth.CodeUnrecognised {
			t.Errorf("%s: code %q", code, failure.Code)
		}
	}
}

func TestStatusWithoutAnError(t *testing.T) {
	t.Parallel()
	later := http.Header{"Retry-After": {"120"}}
	for name, c := range map[string]struct {
		status int
		header http.Header
		class  oauth.Class
		wait   time.Duration
	}{
		"401":                      {401, nil, oauth.ClientRejected, 0},
		"400":                      {400, nil, oauth.RequestRejected, 0},
		"403":                      {403, nil, oauth.RequestRejected, 0},
		"404":                      {404, nil, oauth.RequestRejected, 0},
		"405":                      {405, later, oauth.RequestRejected, 0},
		"408":                      {408, nil, oauth.OutcomeUnknown, 0},
		"429":                      {429, nil, oauth.Throttled, time.Minute},
		"429 with Retry-After":     {429, later, oauth.Throttled, 2 * time.Minute},
		"500":                      {500, later, oauth.OutcomeUnknown, 0},
		"502":                      {502, nil, oauth.OutcomeUnknown, 0},
		"H55 503":                  {503, nil, oauth.OutcomeUnknown, 0},
		"503 with Retry-After":     {503, later, oauth.Throttled, 2 * time.Minute},
		"599":                      {599, nil, oauth.OutcomeUnknown, 0},
		"999":                      {999, nil, oauth.OutcomeUnknown, 0},
		"304":                      {304, nil, oauth.RequestRejected, 0},
		"101":                      {101, nil, oauth.InvalidResponse, 0},
		"401 in another charset":   {401, http.Header{"Content-Type": {"application/json; charset=utf-16"}}, oauth.ClientRejected, 0},
		"400 in an odd encoding":   {400, http.Header{"Content-Encoding": {"br"}}, oauth.RequestRejected, 0},
		"503, throttled by a code": {503, later, oauth.Throttled, 2 * time.Minute},
	} {
		_, err := oauth.Judge(c.status, c.header, []byte("<html>"), oauth.GrantClientCredentials, start())
		checkFailure(t, err, c.class)
		failure := failureOf(t, err)
		if failure.RetryAfter != c.wait || failure.Code != "" || failure.Status != c.status {
			t.Errorf("%s: %+v", name, failure)
		}
	}
}

func TestH54RetryAfter(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "0": time.Second, "-1": time.Second, "1000000000": time.Hour, "1.5": 1500 * time.Millisecond,
		"99999999999999999999999999": time.Hour, "-99999999999999999999999999": time.Second, "1e400": time.Hour,
		"": time.Minute, "soon": time.Minute, "NaN": time.Minute,
		start().Add(10 * time.Minute).Format(http.TimeFormat): 10 * time.Minute,
		start().Add(-time.Hour).Format(http.TimeFormat):       time.Second,
		start().AddDate(100, 0, 0).Format(http.TimeFormat):    time.Hour,
		start().AddDate(5000, 0, 0).Format(http.TimeFormat):   time.Hour,
	} {
		if got := oauth.RetryAfter(value, start()); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestWholeAnswer(t *testing.T) {
	t.Parallel()
	body := `{"access_token":"a","token_type":"bearer","expires_in":43200,"scope":"contact invoices","refresh_token":"r","other":{"x":[1]}}`
	got, err := oauth.Judge(201, http.Header{"Content-Type": {"application/json"}}, []byte(body), oauth.GrantRefreshToken, start())
	if err != nil {
		t.Fatal(err)
	}
	lifetime, scope := 12*time.Hour, "contact invoices"
	want := oauth.Answer{
		AccessToken: secret.New("a"), TokenType: "bearer", Lifetime: &lifetime, Scope: &scope,
		RefreshToken: secret.New("r"), ReceivedTime: start(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"contact", "invoices"}, got.Scopes()); diff != "" {
		t.Error(diff)
	}
}

// What somebody has got wrong in YAML shows as a refusal: it says what to look at.
func TestARefusalSaysWhatToCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"a scope with a typo":           {400, `{"error":"invalid_scope"}`, "check those of client and account"},
		"a secret in the wrong place":   {401, `{"error":"invalid_client"}`, "authentication method"},
		"the same, without a word":      {401, ``, "authentication method"},
		"no audience":                   {400, `{"error":"invalid_request"}`, "such as an audience in tokenRequest.parameters"},
		"no audience, by another code":  {400, `{"error":"invalid_target"}`, "such as an audience in tokenRequest.parameters"},
		"another path":                  {404, `<html>Not found</html>`, "check its path"},
		"another path, told in JSON":    {404, `{"message":"no such route"}`, "check its path"},
		"a path that is known, refused": {404, `{"error":"invalid_scope"}`, "check those of client and account"},
	} {
		_, err := oauth.Judge(test.status, http.Header{"Content-Type": {"application/json"}}, []byte(test.body), oauth.GrantClientCredentials, start())
		var failure *oauth.Error
		if !errors.As(err, &failure) || !strings.Contains(failure.Reason, test.says) {
			t.Errorf("%s: %q is not said: %v", name, test.says, err)
		}
	}
}
