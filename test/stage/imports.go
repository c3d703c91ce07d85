package stage

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
)

// ImportOptions say what is changed in config/samples/import, or config/samples/consent, beyond what has to be.
type ImportOptions struct {
	// RefreshBefore is how long before its end a token is refreshed, in whole seconds. Default: as in the samples.
	RefreshBefore time.Duration
	// ByName leaves the authorization endpoints as the samples have them: for browsers that are told where the provider's hosts
	// are.
	ByName bool
	// Identity has the clients read whose access it is, with Options.NameUsers.
	Identity bool
}

// ApplyImports does for config/samples/import what ApplySamples does for config/samples, with consents that were given
// elsewhere: at the provider, by a user of the account's name. The refresh tokens go into the samples' Secrets. The clients
// declare the grace that Options.Reuse gives.
func (s *Stage) ApplyImports(ctx context.Context, options ImportOptions) ([]Sample, error) {
	return s.apply(ctx, filepath.Join("config", "samples", "import"), func(file sampleFile) ([]kustomizePatch, error) {
		return s.importPatches(ctx, options, file)
	})
}

// ApplyConsents does for config/samples/consent what ApplySamples does for config/samples. Each account then waits for a person
// who follows its link. It is for stages with Options.Consent.
func (s *Stage) ApplyConsents(ctx context.Context, options ImportOptions) ([]Sample, error) {
	return s.apply(ctx, filepath.Join("config", "samples", "consent"), func(file sampleFile) ([]kustomizePatch, error) {
		return s.clientPatches(options, file)
	})
}

// Link waits for the link that an account offers, reading as the user of the namespace does.
func (s *Stage) Link(ctx context.Context, account string) (string, error) {
	kubeconfig, err := s.Kubeconfig(ctx, Namespace, Developer)
	if err != nil {
		return "", err
	}
	var link string
	err = wait.PollUntilContextTimeout(ctx, pollInterval, startTimeout, true, func(ctx context.Context) (bool, error) {
		link, err = s.Kubectl(ctx, kubeconfig, "get", "connectedaccount", account, "--namespace="+Namespace, "--output=jsonpath={.status.authorizationURL}")
		return link != "", err
	})
	if err != nil {
		return "", fmt.Errorf("wait for the link of %s: %w", account, err)
	}
	return link, nil
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
	patches, err := s.clientPatches(options, file)
	return append(patches, source), err
}

// clientPatches change in a client that customers consented to what was asked for.
func (s *Stage) clientPatches(options ImportOptions, file sampleFile) ([]kustomizePatch, error) {
	var changes []map[string]any
	if before := options.RefreshBefore; before > 0 {
		changes = append(changes, map[string]any{"op": "add", "path": "/spec/refreshBeforeSeconds", "value": int(before / time.Second)})
	}
	if options.Identity {
		changes = append(changes, map[string]any{"op": "add", "path": "/spec/tokenResponse", "value": map[string]any{"identity": map[string]any{"pointer": "/account_id"}}})
	}
	if asked := file.client.Spec.Endpoints.Authorization; options.ByName && asked != "" {
		changes = append(changes, map[string]any{"op": "replace", "path": "/spec/endpoints/authorization", "value": string(asked)})
	}
	if grace := s.options.Reuse.Grace; grace > 0 {
		changes = append(changes, map[string]any{"op": "add", "path": "/spec/refreshTokens", "value": v1alpha1.RefreshTokens{
			Use: v1alpha1.RefreshTokenSingleUse, ReuseGraceSeconds: int32(grace / time.Second), //nolint:gosec // an hour at most
		}})
	}
	if len(changes) == 0 {
		return nil, nil
	}
	patch, err := patchOf("OAuthClient", file.client.Name, changes...)
	return []kustomizePatch{patch}, err
}
