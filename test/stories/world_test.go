package stories_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/lifecycle"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const (
	clientID = "stories"
	// clusterID stands for the UID of kube-system.
	clusterID  = "the-cluster"
	user       = "a-person"
	sourceName = "imported"
	lifetime   = time.Hour
)

// world is what one story plays in: a namespace, a provider, one account, its replicas, and a clock.
type world struct {
	t         *testing.T
	kind      kind
	clock     *movedClock
	provider  *provider.Server
	network   *network
	namespace string
	account   types.NamespacedName
	dir       string
	pods      int
	// replicas live; fallen were killed, and may start again.
	replicas, fallen []*replica

	// decide says what becomes of writes; nil: they happen. down is what every request to the API server gets.
	decide decide
	crash  *crash
	// users counts the people who have consented.
	users int
	// sameUser: it is the same person each time.
	sameUser bool
	// codes: the account lives on codes that a browser brings, and imports nothing.
	codes bool
	// handed are the codes that were handed over.
	handed []handed

	effects []made
	sends   []*flight
	excuses []excuse
	// faults counts what went wrong. slept: somebody who held what a refresh token brought did not come back while the
	// grace lasted and all through the wait that followed.
	faults int
	slept  bool

	// late are writes that a connection holds back.
	late []late

	mu       sync.Mutex
	down     error
	lines    []string
	log      []string
	tokens   []string
	versions map[string]v1alpha1.ConnectedAccountStatus
	cache    map[string]client.Object
	broken   []string
}

// newWorld makes a world with an account that is to import a refresh token. No replica works on it yet.
func newWorld(t *testing.T, of kind) *world {
	t.Helper()
	return makeWorld(t, of, false)
}

func makeWorld(t *testing.T, of kind, codes bool) *world {
	t.Helper()
	needsControlPlane(t)
	w := &world{
		t: t, kind: of, dir: t.TempDir(), crash: &crash{}, codes: codes, sameUser: codes,
		clock:    &movedClock{now: time.Date(2030, time.May, 1, 12, 0, 0, 0, time.UTC)},
		versions: map[string]v1alpha1.ConnectedAccountStatus{}, cache: map[string]client.Object{},
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "story-"}}
	w.must(suite.admin.Create(w.ctx(), namespace))
	w.namespace = namespace.Name
	w.account = types.NamespacedName{Namespace: w.namespace, Name: "a"}
	var err error
	w.provider, err = provider.Start(provider.Options{
		Clock: w.clock, Retention: 1000 * time.Hour,
		Registrations: []provider.Registration{{
			Contract: provider.Smartbills, ClientID: clientID, ClientSecret: "planted-client-secret", AccessTokenLifetime: lifetime, Reuse: of.reuse,
			RedirectURIs: []string{w.redirectURI()},
		}},
	})
	w.must(err)
	t.Cleanup(func() { _ = w.provider.Close() })
	w.network = newNetwork(w)
	w.createClient()
	w.createAccount()
	t.Cleanup(w.verdict)
	return w
}

func (w *world) ctx() context.Context { return context.WithoutCancel(w.t.Context()) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// createClient registers the client, and has the operator look at it.
func (w *world) createClient() {
	w.t.Helper()
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "credentials", Labels: map[string]string{v1alpha1.LabelCredential: "true"}},
		StringData: map[string]string{"client_secret": "planted-client-secret"},
	})
	owner := &v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Name: "bills"},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints: v1alpha1.Endpoints{Token: v1alpha1.Endpoint(w.provider.TokenEndpoint(provider.Smartbills))},
			ClientID:  clientID,
			Authentication: v1alpha1.Authentication{
				Method: v1alpha1.ClientSecretPost, ClientSecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "client_secret"},
			},
			Grants: []v1alpha1.GrantType{v1alpha1.GrantAuthorizationCode}, RefreshTokens: w.kind.declare,
		},
	}
	if w.codes {
		w.sendsToBrowser(owner)
	}
	w.create(owner)
	w.checkClient()
}

// checkClient is a lap of the client's reconciler, which says whether the client can be used.
func (w *world) checkClient() {
	w.t.Helper()
	live := &wire{Client: suite.operator, replica: &replica{world: w, dead: make(chan struct{})}, cached: true} // no outage concerns it
	egress := oauth.Egress{AllowLoopback: true}
	clients := &controller.ClientReconciler{
		Client:      suite.operator,
		Credentials: &controller.ConsentedSecrets{Metadata: labelled{live, v1alpha1.LabelCredential}, Live: live},
		Transports:  &controller.Transports{Egress: egress, Clock: w.clock},
		Metrics:     controller.NewMetrics(w.clock), Egress: egress, Clock: w.clock, ConsentURL: w.consentURL(),
	}
	_, err := clients.Reconcile(w.ctx(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: w.namespace, Name: "bills"}})
	w.must(err)
	w.changed()
}

// createAccount makes the account, with a consent to import.
func (w *world) createAccount() {
	w.t.Helper()
	if w.codes {
		account := w.newAccount()
		account.Spec.ImportRefreshTokenRef = v1alpha1.SecretKeyReference{}
		account.Spec.Consent.Link = v1alpha1.LinkAlways
		w.create(account)
		return
	}
	w.create(w.newSource(), w.newAccount())
}

func (w *world) newAccount() *v1alpha1.ConnectedAccount {
	return &v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Name: w.account.Name},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef:             v1alpha1.ClientReference{Name: "bills"},
			Grant:                 v1alpha1.Grant{Type: v1alpha1.GrantAuthorizationCode},
			ImportRefreshTokenRef: v1alpha1.SecretKeyReference{Name: sourceName, Key: "refresh_token"},
		},
	}
}

// newSource is the Secret that the account imports from, with a new consent in it.
func (w *world) newSource() *corev1.Secret {
	w.t.Helper()
	parsed, err := url.Parse(w.provider.URL())
	w.must(err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: sourceName, Labels: map[string]string{v1alpha1.LabelCredential: "true"},
			Annotations: map[string]string{v1alpha1.AnnotationHosts: parsed.Host},
		},
		Data: map[string][]byte{"refresh_token": []byte(w.grant())},
	}
}

// grant is a consent that a person gives at the provider.
func (w *world) grant() string {
	w.t.Helper()
	if !w.sameUser || w.users == 0 {
		w.users++
	}
	granted, err := w.provider.Grant(clientID, fmt.Sprintf("%s-%d", user, w.users))
	w.must(err)
	return granted.RefreshToken
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, object := range objects {
		object.SetNamespace(w.namespace)
		w.must(suite.admin.Create(w.ctx(), object))
	}
	w.changed()
}

// change edits an object as its owner would.
func change[T client.Object](w *world, name string, object T, edit func(T)) {
	w.t.Helper()
	w.must(suite.admin.Get(w.ctx(), types.NamespacedName{Namespace: w.namespace, Name: name}, object))
	edit(object)
	w.must(suite.admin.Update(w.ctx(), object))
	w.changed()
}

// read is the account as it is now.
func (w *world) read() *v1alpha1.ConnectedAccount {
	w.t.Helper()
	account := &v1alpha1.ConnectedAccount{}
	w.must(suite.admin.Get(w.ctx(), w.account, account))
	return account
}

// consentsAnew puts a new refresh token where the account imports from. asked: it is to replace one that works.
func (w *world) consentsAnew(asked bool) {
	w.t.Helper()
	w.sayf("the person consents anew")
	token := w.grant()
	change(w, sourceName, &corev1.Secret{}, func(source *corev1.Secret) { source.Data = map[string][]byte{"refresh_token": []byte(token)} })
	if !asked {
		return
	}
	change(w, w.account.Name, &v1alpha1.ConnectedAccount{}, func(account *v1alpha1.ConnectedAccount) {
		held := w.open(account)
		account.Annotations = mergedMap(account.Annotations, v1alpha1.AnnotationReplaceGrant, fmt.Sprint(held.GrantSequence))
	})
}

// asksAnew asks for a new token, a minute after the last one.
func (w *world) asksAnew() {
	w.t.Helper()
	w.clock.move(time.Minute)
	w.sayf("somebody asks for a new token")
	change(w, w.account.Name, &v1alpha1.ConnectedAccount{}, func(account *v1alpha1.ConnectedAccount) {
		at := w.clock.Now().UTC().Format(time.RFC3339)
		account.Annotations = mergedMap(account.Annotations, v1alpha1.AnnotationRefreshRequestedAt, at)
	})
}

func mergedMap(into map[string]string, key, value string) map[string]string {
	merged := maps.Clone(into)
	if merged == nil {
		merged = map[string]string{}
	}
	merged[key] = value
	return merged
}

// editEndpoint has the client name another token endpoint.
func (w *world) editEndpoint(endpoint string) {
	w.t.Helper()
	change(w, "bills", &v1alpha1.OAuthClient{}, func(owner *v1alpha1.OAuthClient) {
		owner.Spec.Endpoints.Token = v1alpha1.Endpoint(endpoint)
	})
	w.checkClient()
}

// open opens what an account holds; the zero credential where it holds nothing.
func (w *world) open(account *v1alpha1.ConnectedAccount) seal.Credential {
	w.t.Helper()
	return w.openStatus(string(account.UID), &account.Status)
}

func (w *world) openStatus(uid string, status *v1alpha1.ConnectedAccountStatus) seal.Credential {
	if status.SealedCredential == "" {
		return seal.Credential{}
	}
	subject := seal.Subject{ClusterID: clusterID, Namespace: w.account.Namespace, Name: w.account.Name, UID: uid}
	held, err := suite.keyring.Open(seal.PurposeCredential, subject, status.SealedCredential)
	if err != nil {
		w.t.Errorf("the sealed credential does not open: %v", err)
	}
	return held
}

func versionOf(held seal.Credential) lifecycle.Version {
	return lifecycle.Version{Grant: held.GrantSequence, Rotation: held.Rotation, Claim: held.ClaimSequence}
}

func readKeyring(ctx context.Context) (*seal.Keyring, error) {
	stored := &corev1.Secret{}
	if err := suite.admin.Get(ctx, types.NamespacedName{Namespace: operatorNamespace, Name: controller.KeyringName}, stored); err != nil {
		return nil, err
	}
	return seal.ParseKeyring(stored.Data)
}

// unauthorized is why the account has no refresh token that works, as it says; "" while it has one.
func unauthorized(account *v1alpha1.ConnectedAccount) string {
	found := meta.FindStatusCondition(account.Status.Conditions, v1alpha1.ConditionAuthorized)
	if found == nil || found.Status == metav1.ConditionTrue {
		return ""
	}
	return found.Reason
}

// needsPerson: the account says that nothing gets better without somebody's doing.
func needsPerson(account *v1alpha1.ConnectedAccount) bool {
	switch unauthorized(account) {
	case v1alpha1.ReasonRefreshTokenLost, v1alpha1.ReasonRefreshTokenRejected, v1alpha1.ReasonAuthorizationRequired,
		v1alpha1.ReasonEndpointChanged, v1alpha1.ReasonCredentialRolledBack, v1alpha1.ReasonAlreadyImported:
		return true
	default:
		return false
	}
}

// outage is what the API server answers at present, nil: what it should.
func (w *world) outage() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

func (w *world) setOutage(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = err
}

// remember keeps a version of the account, so that a write which is based on it can be told from it.
func (w *world) remember(account *v1alpha1.ConnectedAccount) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[account.ResourceVersion] = *account.Status.DeepCopy()
}
