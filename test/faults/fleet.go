package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/faults/records"
	"github.com/oauth-operator/oauth-operator/test/provider"
	"github.com/oauth-operator/oauth-operator/test/stage"
)

const (
	// namespace is where the accounts are.
	namespace = "faults"
	tokenPath = "/connect/token"
	// authorizePath is where people consent. They go there themselves, past the proxies.
	authorizePath = "/connect/authorize"

	secretKey = "client_secret"
	importKey = "refresh_token"
)

// fleet makes clients and accounts.
type fleet struct {
	client   client.Client
	stage    *stage.Stage
	director *director
	accounts *records.Writer
	// endpoint is where token requests go, hosts all that may have a secret.
	endpoint string
	hosts    string
	made     int
}

func newFleet(played *stage.Stage, of *director, accounts *records.Writer, endpoint, elsewhere string) (*fleet, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	admin, err := client.New(played.Cluster.Admin, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	f := &fleet{client: admin, stage: played, director: of, accounts: accounts, endpoint: endpoint}
	for _, each := range []string{endpoint, elsewhere} {
		parsed, err := url.Parse(each)
		if err != nil {
			return nil, err
		}
		if f.hosts != "" {
			f.hosts += ","
		}
		f.hosts += parsed.Host
	}
	return f, nil
}

// prepare makes the namespace and a client for each kind.
func (f *fleet) prepare(ctx context.Context, all []*kind) error {
	if err := f.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return err
	}
	for _, each := range all {
		if err := f.client.Create(ctx, f.secret("client-"+each.name, secretKey, each.secret)); err != nil {
			return err
		}
		if err := f.client.Create(ctx, f.clientOf(each)); err != nil {
			return fmt.Errorf("the client %s: %w", each.name, err)
		}
	}
	return nil
}

// clientOf is the client of a kind.
func (f *fleet) clientOf(of *kind) *v1alpha1.OAuthClient {
	made := &v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Name: of.name, Namespace: namespace},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints: v1alpha1.Endpoints{Token: v1alpha1.Endpoint(f.endpoint + tokenPath)},
			ClientID:  of.name,
			Authentication: v1alpha1.Authentication{
				Method:          v1alpha1.ClientSecretPost,
				ClientSecretRef: v1alpha1.SecretKeyReference{Name: "client-" + of.name, Key: secretKey},
			},
			// Long enough for what is held, and short, since others leave a claim alone for longer.
			TokenRequest:  v1alpha1.TokenRequest{TimeoutSeconds: 10},
			Grants:        []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode},
			RefreshTokens: of.tokens,
		},
	}
	if of.consents {
		made.Spec.Endpoints.Authorization = v1alpha1.AuthorizationEndpoint(f.stage.Provider.URL + authorizePath)
		made.Spec.Scopes = []v1alpha1.Scope{consentScope}
	}
	return made
}

// secret is one that the operator may read.
func (f *fleet) secret(name, key, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: namespace,
			Labels:      map[string]string{v1alpha1.LabelCredential: "true"},
			Annotations: map[string]string{v1alpha1.AnnotationHosts: f.hosts},
		},
		StringData: map[string]string{key: value},
	}
}

// create makes an account with a grant of its own: its name is the user's at the provider.
func (f *fleet) create(ctx context.Context, of *kind) error {
	f.made++
	name := fmt.Sprintf("acct-%04d", f.made)
	if of.consents {
		return f.createInvited(ctx, of, name)
	}
	answer, err := f.stage.Provider.Control(ctx, "/-/grant", map[string]any{"client_id": of.name, "user": name})
	if err != nil {
		return err
	}
	var granted provider.Grant
	if err := json.Unmarshal(answer, &granted); err != nil {
		return err
	}
	if err := f.client.Create(ctx, f.secret("import-"+name, importKey, granted.RefreshToken)); err != nil {
		return err
	}
	record := records.Account{
		Name: name, Provider: of.name, Revokes: of.revokes(), Reusable: of.reusable(), GraceSeconds: of.reuse.Grace.Seconds(),
		Imported: provider.Fingerprint(granted.RefreshToken), Time: time.Now().UTC(),
	}
	f.director.add(record, of)
	account := &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef:             v1alpha1.ClientReference{Name: of.name},
			Grant:                 v1alpha1.Grant{Type: v1alpha1.GrantAuthorizationCode},
			ImportRefreshTokenRef: v1alpha1.SecretKeyReference{Name: "import-" + name, Key: importKey},
		},
	}
	return f.bring(ctx, account, record)
}

// createInvited makes an account that waits for a person. Three of four have a link at all times, so that the person can
// consent while the grant before works; the fourth has one only while a person is needed.
func (f *fleet) createInvited(ctx context.Context, of *kind, name string) error {
	record := records.Account{Name: name, Provider: of.name, Revokes: of.revokes(), GraceSeconds: of.reuse.Grace.Seconds(), Time: time.Now().UTC()}
	f.director.add(record, of)
	account := &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       v1alpha1.ConnectedAccountSpec{ClientRef: v1alpha1.ClientReference{Name: of.name}, Grant: v1alpha1.Grant{Type: v1alpha1.GrantAuthorizationCode}},
	}
	if f.made%4 > 0 {
		account.Spec.Consent.Link = v1alpha1.LinkAlways
	}
	return f.bring(ctx, account, record)
}

// bring creates an account, and writes down that it is there.
func (f *fleet) bring(ctx context.Context, account *v1alpha1.ConnectedAccount, record records.Account) error {
	if err := f.client.Create(ctx, account); err != nil {
		return fmt.Errorf("the account %s: %w", account.Name, err)
	}
	record.UID = string(account.UID)
	f.accounts.Write(record)
	return nil
}

// move has the client of a kind name another endpoint.
func (f *fleet) move(ctx context.Context, of *kind, endpoint string) error {
	patch := []map[string]any{{"op": "replace", "path": "/spec/endpoints/token", "value": endpoint + tokenPath}}
	text, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	named := &v1alpha1.OAuthClient{ObjectMeta: metav1.ObjectMeta{Name: of.name, Namespace: namespace}}
	return f.client.Patch(ctx, named, client.RawPatch("application/json-patch+json", text))
}

// suspend holds an account back, or lets it go on.
func (f *fleet) suspend(ctx context.Context, name string, suspend bool) error {
	named := &v1alpha1.ConnectedAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}}
	return f.client.Patch(ctx, named, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"suspend":%t}}`, suspend)))
}

// final writes down the accounts as they are in the end, with their Secrets.
func (f *fleet) final(ctx context.Context, into *records.Writer) error {
	var accounts v1alpha1.ConnectedAccountList
	if err := f.client.List(ctx, &accounts, client.InNamespace(namespace)); err != nil {
		return err
	}
	var secrets corev1.SecretList
	if err := f.client.List(ctx, &secrets, client.InNamespace(namespace)); err != nil {
		return err
	}
	byName := map[string]*corev1.Secret{}
	for i := range secrets.Items {
		byName[secrets.Items[i].Name] = &secrets.Items[i]
	}
	for i := range accounts.Items {
		into.Write(finalOf(&accounts.Items[i], byName[accounts.Items[i].Name]))
	}
	return nil
}

func finalOf(account *v1alpha1.ConnectedAccount, secret *corev1.Secret) records.Final {
	last := records.Final{
		Name: account.Name, UID: string(account.UID), Rotations: account.Status.Rotations, Claim: account.Status.Claim.ID,
		Linked:       account.Status.AuthorizationURL != "",
		AlwaysLinked: account.Spec.Consent.Link == v1alpha1.LinkAlways,
		CodeOpen:     account.Status.Authorization.HandOver.ID != "" || account.Status.Authorization.Exchange.ID != "",
	}
	for _, condition := range account.Status.Conditions {
		if condition.Type == v1alpha1.ConditionAuthorized {
			last.Authorized, last.Reason = string(condition.Status), condition.Reason
		}
	}
	if secret != nil {
		last.Rotation = secret.Annotations[v1alpha1.AnnotationRotation]
		if value := secret.Data["access_token"]; len(value) > 0 {
			last.AccessFingerprint = provider.Fingerprint(string(value))
		}
	}
	return last
}
