package stage

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// ImportOptions say what is changed in config/samples/import beyond what has to be.
type ImportOptions struct {
	// RefreshBefore is how long before its end a token is refreshed, in whole seconds. Default: as in the samples.
	RefreshBefore time.Duration
}

// ApplyImports does for config/samples/import what ApplySamples does for config/samples, with consents that were given
// elsewhere: at the provider, by a user of the account's name. The refresh tokens go into the samples' Secrets. The clients
// declare the grace that Options.Reuse gives.
func (s *Stage) ApplyImports(ctx context.Context, options ImportOptions) ([]Sample, error) {
	return s.apply(ctx, filepath.Join("config", "samples", "import"), func(file sampleFile) ([]kustomizePatch, error) {
		return s.importPatches(ctx, options, file)
	})
}

// importPatches put a refresh token into the sample's Secret, and change in the client what was asked for.
func (s *Stage) importPatches(ctx context.Context, options ImportOptions, file sampleFile) ([]kustomizePatch, error) {
	if len(file.accounts) != 1 || file.accounts[0].Spec.ImportRefreshTokenRef.Name != file.secret.Name {
		return nil, fmt.Errorf("the sample %s is not one account that imports from the Secret beside it", filepath.Base(file.path))
	}
	granted, err := s.Provider.Grant(ctx, s.Provider.registrations[file.client.Name].ClientID, file.accounts[0].Name)
	if err != nil {
		return nil, err
	}
	here, err := url.Parse(s.Provider.URL)
	if err != nil {
		return nil, err
	}
	source, err := patchOf("Secret", file.secret.Name,
		map[string]any{"op": "replace", "path": "/stringData/" + file.accounts[0].Spec.ImportRefreshTokenRef.Key, "value": granted.RefreshToken},
		map[string]any{"op": "replace", "path": "/metadata/annotations/" + strings.ReplaceAll(v1alpha1.AnnotationHosts, "/", "~1"), "value": here.Host},
	)
	if err != nil {
		return nil, err
	}
	patches := []kustomizePatch{source}
	var changes []map[string]any
	if before := options.RefreshBefore; before > 0 {
		changes = append(changes, map[string]any{"op": "add", "path": "/spec/refreshBeforeSeconds", "value": int(before / time.Second)})
	}
	if grace := s.options.Reuse.Grace; grace > 0 {
		changes = append(changes, map[string]any{"op": "add", "path": "/spec/refreshTokens", "value": v1alpha1.RefreshTokens{
			Use: v1alpha1.RefreshTokenSingleUse, ReuseGraceSeconds: int32(grace / time.Second), //nolint:gosec // an hour at most
		}})
	}
	if len(changes) > 0 {
		owner, err := patchOf("OAuthClient", file.client.Name, changes...)
		if err != nil {
			return nil, err
		}
		patches = append(patches, owner)
	}
	return patches, nil
}
