package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// The fleets, by name. Each has a namespace and a client of that name.
const (
	fleetRest   = "rest"
	fleetRate   = "rate"
	fleetSingle = "single"
	fleetDue    = "due"
	// The bare loops have no accounts of the operator's.
	fleetBare       = "bare"
	fleetBareSingle = "bare-single"
)

// fleet is many accounts of one client, in one namespace.
type fleet struct {
	name      string
	namespace string
	size      int
	lifetime  time.Duration
	// singleUse: their refresh tokens were obtained elsewhere, and each is good for one request. Otherwise they have client
	// credentials.
	singleUse bool
	// slots is the client's limit; 0: the default.
	slots int32
	// lead is how long before its end a token is refreshed.
	lead   time.Duration
	server *provider.Server
}

func fleetsOf(s settings) []*fleet {
	return []*fleet{
		{name: fleetRest, size: s.rest, lifetime: 12 * time.Hour, slots: slots},
		{name: fleetRate, size: s.rate, lifetime: 12 * time.Hour, slots: slots, lead: s.lead},
		{name: fleetSingle, size: s.single, lifetime: 12 * time.Hour, slots: slots, lead: s.lead, singleUse: true},
		{name: fleetDue, size: s.due, lifetime: 12 * time.Hour, slots: slots, lead: s.lead * 3 / 2},
		{name: fleetBare, lifetime: 12 * time.Hour},
		{name: fleetBareSingle, lifetime: 12 * time.Hour, singleUse: true},
	}
}

// registration is the fleet's client, as the provider knows it.
func (f *fleet) registration() provider.Registration {
	registration := provider.Registration{
		Contract: provider.Smartbills, ClientID: f.name, ClientSecret: "secret-of-" + f.name, AccessTokenLifetime: f.lifetime,
		Grants: []string{provider.GrantClientCredentials},
	}
	if f.singleUse {
		registration.Grants = []string{provider.GrantAuthorizationCode, provider.GrantRefreshToken}
		registration.Reuse = provider.ReusePolicy{Kind: provider.RevokeFamily}
	}
	return registration
}

func (f *fleet) space() string {
	if f.namespace != "" {
		return f.namespace
	}
	return f.name
}

func (f *fleet) client() *v1alpha1.OAuthClient {
	owner := &v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.space(), Name: f.name},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints: v1alpha1.Endpoints{Token: v1alpha1.Endpoint(f.server.URL() + tokenPath)},
			ClientID:  f.name,
			Authentication: v1alpha1.Authentication{
				Method: v1alpha1.ClientSecretPost, ClientSecretRef: v1alpha1.SecretKeyReference{Name: f.name, Key: secretKey},
			},
			Grants:                []v1alpha1.GrantType{v1alpha1.GrantClientCredentials},
			MaxConcurrentRequests: f.slots,
			RefreshBeforeSeconds:  int32(f.lead.Seconds()),
		},
	}
	if f.singleUse {
		owner.Spec.Grants = []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode}
	}
	return owner
}

func (f *fleet) account(name string) *v1alpha1.ConnectedAccount {
	account := &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.space(), Name: name},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef: v1alpha1.ClientReference{Name: f.name},
			Grant:     v1alpha1.Grant{Type: v1alpha1.GrantClientCredentials},
		},
	}
	if f.singleUse {
		account.Spec.Grant.Type = v1alpha1.GrantAuthorizationCode
		account.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{Name: name + importSuffix, Key: importKey}
	}
	return account
}

// secret is one that the operator may read, and send to the fleet's provider.
func (f *fleet) secret(name, key, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.space(), Name: name, Labels: map[string]string{v1alpha1.LabelCredential: "true"},
			Annotations: map[string]string{v1alpha1.AnnotationHosts: hostOf(f.server.URL())},
		},
		StringData: map[string]string{key: value},
	}
}

// importSuffix ends the names of Secrets with a refresh token to import.
const importSuffix = "-import"

func numbered(i int) string { return fmt.Sprintf("account-%05d", i) }

// makeNamespace makes the fleet's namespace. One that is there already is another fleet's as well.
func (b *bench) makeNamespace(ctx context.Context, name string) error {
	return client.IgnoreAlreadyExists(b.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
}

// found makes the fleet's namespace and client, and no accounts.
func (b *bench) found(ctx context.Context, f *fleet) error {
	if err := b.makeNamespace(ctx, f.space()); err != nil {
		return err
	}
	if err := b.admin.Create(ctx, f.secret(f.name, secretKey, f.registration().ClientSecret)); err != nil {
		return err
	}
	return b.admin.Create(ctx, f.client())
}

// create makes one account, and what it imports.
func (b *bench) create(ctx context.Context, f *fleet, name string) error {
	if f.singleUse {
		grant, err := f.server.Grant(f.name, name)
		if err != nil {
			return err
		}
		if err := b.admin.Create(ctx, f.secret(name+importSuffix, importKey, grant.RefreshToken)); err != nil {
			return err
		}
	}
	return b.admin.Create(ctx, f.account(name))
}

// make makes all of a fleet, and waits until each account has its token in its Secret.
func (b *bench) make(ctx context.Context, f *fleet) error {
	began := time.Now()
	if err := b.found(ctx, f); err != nil {
		return err
	}
	if err := each(ctx, f.size, func(ctx context.Context, i int) error { return b.create(ctx, f, numbered(i)) }); err != nil {
		return err
	}
	created := time.Since(began)
	if err := b.untilWritten(ctx, f.space(), f.size); err != nil {
		return err
	}
	took := time.Since(began)
	b.sayf("%d accounts of %s made in %.1f s, each with a token after %.1f s: %.0f in a second", f.size, f.name, created.Seconds(), took.Seconds(), float64(f.size)/took.Seconds())
	return nil
}

// untilWritten waits until so many of a namespace's Secrets were written since they were forgotten.
func (b *bench) untilWritten(ctx context.Context, namespace string, count int) error {
	return b.until(ctx, fmt.Sprintf("%d Secrets in %s are written", count, namespace), func() (bool, error) {
		written, err := b.tally.howMany(namespace)
		return written >= count, err
	})
}

// endAt has all tokens of a fleet end at one time, whenever they are issued, until the returned function is called: from then
// on they live for as long as before. What is issued too late for that lives for a short time.
func (b *bench) endAt(f *fleet, end time.Time) (back func() error, err error) {
	set := func() error {
		return f.server.SetAccessTokenLifetime(f.name, max(time.Until(end), f.lead*3/2).Round(time.Second))
	}
	if err := set(); err != nil {
		return nil, err
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				stopped <- f.server.SetAccessTokenLifetime(f.name, f.lifetime)
				return
			case <-ticker.C:
				if err := set(); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	return func() error {
		close(stop)
		return <-stopped
	}, nil
}

func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
