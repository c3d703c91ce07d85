package controller_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/secret"
)

// FuzzSecretTexts shows that what is taken out of a Secret can be sent, so that no grant begins with a token that never
// goes out; that what cannot is refused in our words; and that none of it is quoted.
func FuzzSecretTexts(f *testing.F) {
	for _, text := range []string{
		"token", "token\n", " token", "two words", "zwei W\u00f6rter", "a\x00b", strings.Repeat("r", 16<<10), strings.Repeat("r", 16<<10+1), "\xff", "\t", "~!",
		"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
	} {
		f.Add([]byte(text))
	}
	client, err := oauth.NewClient(oauth.Options{Clock: clock.RealClock{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) == 0 {
			return // that is told apart before
		}
		faults := []string{controller.RefreshTokenFault(value), controller.ClientIDFault(value), controller.ClientSecretFault(value), controller.CertificateFault(value)}
		for _, fault := range faults {
			if len(fault) > 200 || len(value) > 20 && strings.Contains(fault, string(value)) {
				t.Errorf("%q says %q", value, fault)
			}
		}
		if (faults[0] == "") != maySend(t, client, "an-id", "a-secret", string(value)) {
			t.Errorf("the refresh token %q: %q", value, faults[0])
		}
		if faults[1] == "" && !maySend(t, client, string(value), "a-secret", "token") || faults[2] == "" && !maySend(t, client, "an-id", string(value), "token") {
			t.Errorf("the client's %q: %q", value, faults[1:3])
		}
		if printable := regexp.MustCompile(`^[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?$`).Match(value); printable != (faults[2] == "") {
			t.Errorf("the client secret %q: %q", value, faults[2])
		}
	})
}

// maySend reports whether a refresh could be sent with these. Its context has ended, so that nothing is connected to.
func maySend(t *testing.T, client *oauth.Client, id, clientSecret, token string) bool {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Ready(ended, oauth.Registration{ //nolint:gosec // what a client is made with
		TokenEndpoint: "https://provider.test/token", ClientID: id, ClientSecret: secret.New(clientSecret), Method: oauth.ClientSecretPost, BodyFormat: oauth.BodyJSON,
	}, oauth.GrantRequest{Grant: oauth.GrantRefreshToken, RefreshToken: secret.New(token)})
	return errors.Is(err, context.Canceled) // what cannot be sent is refused before that is looked at
}
