package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/oauth-operator/oauth-operator/test/leaks"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// searchOutput looks for secrets in all that this program has shown and that the operator has logged. It knows the client
// secrets and the tokens that are in the Secrets now; of the tokens before them it knows how they begin.
func (d *demo) searchOutput(ctx context.Context) error {
	if interrupted := ctx.Err() != nil; interrupted || d.operator == nil {
		return nil //nolint:nilerr // there may be nothing to search any more
	}
	d.screen.mu.Lock()
	shown := slices.Clone(d.screen.said.Bytes())
	d.screen.mu.Unlock()
	logged, err := os.ReadFile(d.operator.LogFile)
	if err != nil {
		return err
	}
	secrets, err := d.secrets(ctx)
	if err != nil {
		return err
	}
	var found []error
	for where, text := range map[string][]byte{"the output": shown, "the operator's log": logged} {
		if bytes.Contains(text, []byte(provider.AccessTokenPrefix)) || bytes.Contains(text, []byte(provider.RefreshTokenPrefix)) {
			found = append(found, fmt.Errorf("%s shows a token", where))
		}
		for _, secret := range secrets {
			for _, finding := range leaks.Search(text, secret) {
				found = append(found, fmt.Errorf("%s shows a secret, as %s", where, finding.Form))
			}
		}
	}
	return errors.Join(found...)
}

// secrets are the client secrets, the imported refresh tokens, and the tokens in the Secrets now.
func (d *demo) secrets(ctx context.Context) ([]string, error) {
	var all []string
	for _, sample := range d.samples {
		places := map[string]string{sample.Name: "access_token", sample.Client + "-client": "client_secret"}
		if sample.ImportedFrom != "" {
			places[sample.ImportedFrom] = "refresh_token"
		}
		for name, key := range places {
			held, err := d.stage.Secret(ctx, name)
			if err != nil {
				return nil, err
			}
			if len(held.Data[key]) == 0 {
				return nil, fmt.Errorf("the Secret %s has nothing under %s", name, key)
			}
			all = append(all, string(held.Data[key]))
		}
	}
	return all, nil
}
