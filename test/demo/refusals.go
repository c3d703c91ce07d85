package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

const (
	smartBusinessAll = "smartbusiness-all"
	pathContacts     = "/v2/contacts"
)

func pathOfAccount(id string) string { return "/v1/accounts/" + id + "/invoices" }

// token is what a workload would send now, with the time at which it ends.
func (d *demo) token(account string) (held, error) {
	var now held
	for range 2 { // the folder may be swapped between the two files
		lines, err := os.ReadFile(filepath.Join(d.mount(account), "headers"))
		if err != nil {
			continue
		}
		expires, err := os.ReadFile(filepath.Join(d.mount(account), "expires_at"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(lines)) {
			if value, found := strings.CutPrefix(strings.TrimSpace(line), "Authorization: "); found {
				now.authorization = value
			}
		}
		now.expires, err = time.Parse(time.RFC3339, string(expires))
		if err == nil && now.authorization != "" {
			return now, nil
		}
	}
	return held{}, errors.New("read the token of " + account + " from its files")
}

// held is a token that was copied from the files of a Secret.
type held struct {
	authorization string
	expires       time.Time
}

func (h held) fingerprint() string {
	return provider.Fingerprint(strings.TrimPrefix(h.authorization, "Bearer "))
}

// refusal is a call that must be refused. The provider's ledger notes what it is for, and the verdict looks for it there.
type refusal struct {
	expect     string
	says       string
	path       string
	token      held
	onBehalfOf string
	want       int
}

// callWhatMustBeRefused shows that the API looks at what it gets: calls with good tokens in the wrong place.
func (d *demo) callWhatMustBeRefused(ctx context.Context) error {
	invoices, err := d.token("smartbusiness-invoices")
	if err != nil {
		return err
	}
	acme, err := d.token("smartbills-acme")
	if err != nil {
		return err
	}
	for _, each := range []refusal{
		{expect: "wrong-scope", says: "the token for invoices at contacts", path: pathContacts, token: invoices, want: http.StatusForbidden},
		{expect: "missing-on-behalf-of", says: "no on-behalf-of", path: pathOfAccount(stage.ConnectedAccountID), token: acme, want: http.StatusBadRequest},
		{expect: "wrong-on-behalf-of", says: "another account in on-behalf-of", path: pathOfAccount(stage.ConnectedAccountID), token: acme, onBehalfOf: "acct_other", want: http.StatusForbidden},
	} {
		if err := d.refused(ctx, each); err != nil {
			return err
		}
	}
	return nil
}

// callWithRevoked waits until a workload has got its next token, has the provider revoke the one before, and uses that.
func (d *demo) callWithRevoked(ctx context.Context, account string) error {
	for {
		old, err := d.token(account)
		if err != nil {
			return err
		}
		err = d.await(ctx, "the workload of "+account+" to use its next token", bound, func(context.Context) (bool, error) {
			tallies, err := d.tally.read()
			if err != nil {
				return false, err
			}
			used := tallies[account].tokens
			return slices.Contains(used, old.fingerprint()) && used[len(used)-1] != old.fingerprint(), nil
		})
		if err != nil {
			return err
		}
		answer, err := d.stage.Provider.Control(ctx, "/-/revoke", provider.Revocation{Fingerprint: old.fingerprint()})
		if err != nil {
			return err
		}
		var revoked struct {
			Revoked int `json:"revoked"`
		}
		if err := json.Unmarshal(answer, &revoked); err != nil {
			return err
		}
		if revoked.Revoked == 1 { // otherwise it had ended by itself before we came
			return d.refused(ctx, refusal{expect: "revoked", says: "a replaced token that was revoked", path: "/v1/invoices", token: old, want: http.StatusUnauthorized})
		}
	}
}

// callWithExpired uses a token that has ended by itself.
func (d *demo) callWithExpired(ctx context.Context, old held) error {
	// What the Secret says is cut to seconds.
	ended := old.expires.Add(2 * time.Second)
	err := d.await(ctx, "a token to end", max(time.Until(ended), 0)+bound, func(context.Context) (bool, error) {
		return time.Now().After(ended), nil
	})
	if err != nil {
		return err
	}
	return d.refused(ctx, refusal{expect: "expired", says: "the first token, which has ended", path: pathContacts, token: old, want: http.StatusUnauthorized})
}

// refused makes the call, and wants the status.
func (d *demo) refused(ctx context.Context, call refusal) error {
	authorities, err := os.ReadFile(d.stage.Provider.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authorities)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.stage.Provider.URL+call.path, http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", call.token.authorization)
	request.Header.Set(provider.HeaderWorkload, "demo")
	request.Header.Set(provider.HeaderExpect, call.expect)
	if call.onBehalfOf != "" {
		request.Header.Set(provider.HeaderOnBehalfOf, call.onBehalfOf)
	}
	response, err := (&http.Client{Transport: transport, Timeout: bound}).Do(request)
	if err != nil {
		return fmt.Errorf("call the API: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != call.want {
		return fmt.Errorf("a call that must be refused (%s) was answered with %s", call.expect, response.Status)
	}
	d.screen.sayf("a call on purpose, %s: %s, as it should be", call.says, response.Status)
	return nil
}
