package controller_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

const operatorNamespace = "oauth-operator-system"

// stage is what one spec plays on: a namespace, and a provider with one registration of each contract.
type stage struct {
	namespace string
	provider  *provider.Server
	// secret is the client secret of both registrations.
	secret string
}

const (
	businessID = "business-client"
	billsID    = "bills-client"
)

// newStage makes a namespace and a provider. The lifetime is that of the access tokens; the policy, of the refresh tokens.
func newStage(ctx context.Context, lifetime time.Duration, reuse ...provider.ReusePolicy) *stage {
	GinkgoHelper()
	s := &stage{secret: fmt.Sprintf("planted-secret-%d", time.Now().UnixNano())}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "spec-"}}
	Expect(suite.admin.Create(ctx, namespace)).To(Succeed())
	s.namespace = namespace.Name
	DeferCleanup(s.explain)
	DeferCleanup(func(ctx SpecContext) {
		Expect(client.IgnoreNotFound(suite.admin.Delete(ctx, namespace))).To(Succeed())
	})
	registrations := []provider.Registration{
		{Contract: provider.SmartBusiness, ClientID: businessID, ClientSecret: s.secret, Scopes: []string{"contact", "invoices"}, AccessTokenLifetime: lifetime},
		{Contract: provider.Smartbills, ClientID: billsID, ClientSecret: s.secret, Accounts: []string{"acct_8f2"}, AccessTokenLifetime: lifetime, AllowBasic: true},
	}
	for i, name := range []string{"business", "bills"} {
		registrations[i].RedirectURIs = []string{consentURL + "/callback/" + s.namespace + "/" + name}
		registrations[i].NameUser = true
	}
	for _, policy := range reuse {
		registrations[0].Reuse, registrations[1].Reuse = policy, policy
	}
	var err error
	s.provider, err = provider.Start(provider.Options{TLS: true, Registrations: registrations})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(s.provider.Close()).To(Succeed()) })
	s.create(ctx, s.credentialSecret("credentials"))
	return s
}

// explain adds to the report of a spec that has failed what the suite's operator did last in its namespace, and what its
// accounts say. What looks like a failure of one run in a hundred is understood from that, or not at all.
func (s *stage) explain(ctx SpecContext) {
	if !CurrentSpecReport().Failed() {
		return
	}
	var lines []string
	for line := range strings.Lines(suite.logs.String()) {
		if strings.Contains(line, s.namespace) {
			lines = append(lines, line)
		}
	}
	accounts := &v1alpha1.ConnectedAccountList{}
	if err := suite.admin.List(ctx, accounts, client.InNamespace(s.namespace)); err != nil {
		lines = append(lines, err.Error())
	}
	for _, account := range accounts.Items {
		account.ManagedFields = nil
		text, err := json.Marshal(account)
		lines = append(lines, fmt.Sprintf("%s %v\n", text, err))
	}
	AddReportEntry("what the operator did", ReportEntryVisibilityFailureOrVerbose, strings.Join(lines[max(0, len(lines)-80):], ""))
}

// credentialSecret is a Secret as its owner would make it: client secret and certificate authority, with consent.
func (s *stage) credentialSecret(name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{v1alpha1.LabelCredential: "true"}},
		StringData: map[string]string{"client_secret": s.secret, "ca.crt": string(s.provider.CAPEM())},
	}
}

func (s *stage) create(ctx context.Context, objects ...client.Object) {
	GinkgoHelper()
	for _, object := range objects {
		Expect(suite.admin.Create(ctx, object)).To(Succeed())
	}
}

// business is a client of the contract with JSON bodies.
func (s *stage) business(changes ...func(*v1alpha1.OAuthClient)) *v1alpha1.OAuthClient {
	return changed(&v1alpha1.OAuthClient{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "business"},
		Spec: v1alpha1.OAuthClientSpec{
			Endpoints: v1alpha1.Endpoints{Token: v1alpha1.Endpoint(s.provider.TokenEndpoint(provider.SmartBusiness))},
			ClientID:  businessID,
			Authentication: v1alpha1.Authentication{
				Method: v1alpha1.ClientSecretPost, ClientSecretRef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "client_secret"},
			},
			Grants:       []v1alpha1.GrantType{v1alpha1.GrantClientCredentials},
			Scopes:       []v1alpha1.Scope{"contact", "invoices"},
			TokenRequest: v1alpha1.TokenRequest{BodyFormat: v1alpha1.BodyFormatJSON, SendScope: v1alpha1.SendScopeAlways},
			TLS:          v1alpha1.TLS{CARef: v1alpha1.SecretKeyReference{Name: "credentials", Key: "ca.crt"}},
		},
	}, changes)
}

// bills is a client of the contract with form bodies.
func (s *stage) bills(changes ...func(*v1alpha1.OAuthClient)) *v1alpha1.OAuthClient {
	return s.business(append([]func(*v1alpha1.OAuthClient){func(owner *v1alpha1.OAuthClient) {
		owner.Name, owner.Spec.ClientID = "bills", billsID
		owner.Spec.Endpoints.Token = v1alpha1.Endpoint(s.provider.TokenEndpoint(provider.Smartbills))
		owner.Spec.Scopes, owner.Spec.TokenRequest = nil, v1alpha1.TokenRequest{}
	}}, changes...)...)
}

// account is an account of a client in the same namespace.
func (s *stage) account(name, clientName string, changes ...func(*v1alpha1.ConnectedAccount)) *v1alpha1.ConnectedAccount {
	return changed(&v1alpha1.ConnectedAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.ConnectedAccountSpec{
			ClientRef: v1alpha1.ClientReference{Name: clientName},
			Grant:     v1alpha1.Grant{Type: v1alpha1.GrantClientCredentials},
		},
	}, changes)
}

func changed[T any](object T, changes []func(T)) T {
	for _, change := range changes {
		change(object)
	}
	return object
}

// get reads an object as the administrator.
func get[T client.Object](ctx context.Context, object T) T {
	GinkgoHelper()
	Expect(suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object)).To(Succeed())
	return object
}

// change edits an object as the administrator, again where somebody else was faster.
func change[T client.Object](ctx context.Context, object T, edit func(T)) {
	GinkgoHelper()
	Eventually(func() error {
		if err := suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		edit(object)
		return suite.admin.Update(ctx, object)
	}).Should(Succeed())
}

// condition reads one condition of an account as "Status Reason".
func condition(ctx context.Context, account *v1alpha1.ConnectedAccount, kind string) func() string {
	return func() string {
		current := account.DeepCopy()
		if err := suite.admin.Get(ctx, client.ObjectKeyFromObject(account), current); err != nil {
			return err.Error()
		}
		if found := meta.FindStatusCondition(current.Status.Conditions, kind); found != nil {
			return fmt.Sprintf("%s %s", found.Status, found.Reason)
		}
		return "absent"
	}
}

// readyMessage is what the account says to whoever looks at it.
func readyMessage(ctx context.Context, account *v1alpha1.ConnectedAccount) string {
	GinkgoHelper()
	found := meta.FindStatusCondition(get(ctx, account.DeepCopy()).Status.Conditions, v1alpha1.ConditionReady)
	Expect(found).NotTo(BeNil())
	return found.Message
}

// becomesReady waits until the account has a usable token.
func becomesReady(ctx context.Context, accounts ...*v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	for _, account := range accounts {
		Eventually(condition(ctx, account, v1alpha1.ConditionReady)).Should(Equal("True TokenValid"))
	}
}

// tokenSecret reads the account's token Secret.
func (s *stage) tokenSecret(ctx context.Context, name string) *corev1.Secret {
	GinkgoHelper()
	return get(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}})
}

// movedClock is the machine's clock, moved forward by the specs, so that none waits for a backoff or an expiry.
type movedClock struct {
	clock.RealClock
	ahead atomic.Int64
}

func (c *movedClock) Now() time.Time { return c.RealClock.Now().Add(time.Duration(c.ahead.Load())) }

func (c *movedClock) Since(since time.Time) time.Duration { return c.Now().Sub(since) }

// pass lets time pass for the operator, and has it look at the accounts then. Its timers do not notice; its decisions do.
func pass(ctx context.Context, span time.Duration, accounts ...*v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	suite.clock.ahead.Add(int64(span))
	for _, account := range accounts {
		touch(ctx, account)
	}
}

// touch has the operator look at an account, and returns the version that it will see at least.
func touch(ctx context.Context, account *v1alpha1.ConnectedAccount) string {
	GinkgoHelper()
	touched := account.DeepCopy()
	change(ctx, touched, func(a *v1alpha1.ConnectedAccount) {
		if a.Annotations == nil {
			a.Annotations = map[string]string{}
		}
		a.Annotations["touched"] = strconv.FormatInt(time.Now().UnixNano(), 10)
	})
	return touched.ResourceVersion
}

// lap is what the operator writes into its log when it has decided.
type lap struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Version   string `json:"version"`
	Rule      string `json:"rule"`
	Action    string `json:"action"`
}

// rests waits for one more lap of the account and returns the rule that decided it, which called nobody. The laps of one
// account come one after the other: whatever an earlier one did is done by then.
func rests(ctx context.Context, account *v1alpha1.ConnectedAccount) string {
	GinkgoHelper()
	return restsFrom(suite.logs, account, touch(ctx, account))
}

// restsFrom waits for a lap of the account, of the version or a later one, in the log of an operator.
func restsFrom(logs *syncBuffer, account *v1alpha1.ConnectedAccount, version string) string {
	GinkgoHelper()
	found := lapFrom(logs, account, version)
	Expect(found.Action).To(Equal("Rest"), "by the rule %q", found.Rule)
	return found.Rule
}

// lapFrom is restsFrom, whatever the lap does.
func lapFrom(logs *syncBuffer, account *v1alpha1.ConnectedAccount, version string) lap {
	GinkgoHelper()
	var found lap
	Eventually(func() bool {
		for _, line := range logs.decisions() {
			if !strings.Contains(line, account.Namespace) || json.Unmarshal([]byte(line), &found) != nil {
				continue
			}
			order, err := resourceversion.CompareResourceVersion(found.Version, version)
			if err == nil && order >= 0 && found.Name == account.Name && found.Namespace == account.Namespace {
				return true
			}
		}
		return false
	}).Should(BeTrue())
	return found
}

// call is one request that the operator made to the API server.
type call struct {
	method, path, query, accept string
	status                      int
}

func (c call) String() string {
	return fmt.Sprintf("%s %s?%s -> %d", c.method, c.path, c.query, c.status)
}

// wire stands between the operator and the API server: it notes each request, and refuses those that a spec wants refused.
type wire struct {
	mu     sync.Mutex
	calls  []call
	refuse func(*http.Request) int
	// lose has the answers to requests lost on their way back.
	lose func(*http.Request) bool
	// frozen holds back what a watch of accounts brings, while it is locked, and frozenKeyring, what that of the keyring does.
	frozen, frozenKeyring sync.RWMutex
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func (w *wire) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		w.mu.Lock()
		refuse, lose := w.refuse, w.lose
		w.mu.Unlock()
		noted := call{method: request.Method, path: request.URL.Path, query: request.URL.RawQuery, accept: request.Header.Get("Accept")}
		if refuse != nil {
			if noted.status = refuse(request); noted.status != 0 {
				w.note(noted)
				return refusal(request, noted.status), nil
			}
		}
		response, err := next.RoundTrip(request)
		if err == nil {
			noted.status = response.StatusCode
		}
		w.note(noted)
		// A write that was refused changed nothing, and comes again: it is not the one that a spec waits for.
		if err == nil && response.StatusCode < 300 && lose != nil && lose(request) {
			_ = response.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		if err == nil && strings.HasSuffix(request.URL.Path, "/connectedaccounts") && request.URL.Query().Get("watch") != "" {
			response.Body = &frozenBody{response.Body, &w.frozen}
		}
		if err == nil && strings.HasSuffix(request.URL.Path, "/"+operatorNamespace+"/secrets") && request.URL.Query().Get("watch") != "" {
			response.Body = &frozenBody{response.Body, &w.frozenKeyring}
		}
		return response, err
	})
}

// frozenBody is the body of a watch: what it brings arrives once nothing is frozen.
type frozenBody struct {
	io.ReadCloser
	frozen *sync.RWMutex
}

func (b *frozenBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.frozen.RLock()
	defer b.frozen.RUnlock()
	return n, err
}

func refusal(request *http.Request, status int) *http.Response {
	if status == http.StatusNotFound {
		// What an API server says that does not serve the resource: not that the object is gone.
		return &http.Response{
			StatusCode: status, Request: request, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
			Body: io.NopCloser(strings.NewReader("404 page not found\n")),
		}
	}
	reasons := map[int]metav1.StatusReason{
		http.StatusConflict: metav1.StatusReasonConflict, http.StatusUnprocessableEntity: metav1.StatusReasonInvalid,
		http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
	}
	reason, known := reasons[status]
	if !known {
		reason = metav1.StatusReasonForbidden
	}
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, status)
	return &http.Response{
		StatusCode: status, Request: request, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

func (w *wire) note(noted call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, noted)
}

// losing has the answers to requests that were carried out lost until the spec ends.
func (w *wire) losing(decide func(*http.Request) bool) {
	set := func(lose func(*http.Request) bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.lose = lose
	}
	set(decide)
	DeferCleanup(func() { set(nil) })
}

// refusing has requests refused until the spec ends; status 0 lets one pass.
func (w *wire) refusing(decide func(*http.Request) int) {
	w.set(decide)
	DeferCleanup(func() { w.set(nil) })
}

func (w *wire) set(refuse func(*http.Request) int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = refuse
}

// mark is a place in the list of requests; since are those that came after it and match.
func (w *wire) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

func (w *wire) since(mark int, match func(call) bool) []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []call
	for _, made := range w.calls[mark:] {
		if match(made) {
			found = append(found, made)
		}
	}
	return found
}

// within matches requests about a namespace.
func within(namespace string) func(call) bool {
	return func(made call) bool { return strings.Contains(made.path, "/namespaces/"+namespace+"/") }
}

// writesWithin matches writes in a namespace that were carried out, apart from events.
func writesWithin(namespace string) func(call) bool {
	return func(made call) bool {
		return within(namespace)(made) && made.method != http.MethodGet && made.status < 300 &&
			!strings.Contains(made.path, "/events") && !strings.Contains(made.query, "dryRun")
	}
}

// paths are the methods and last parts of requests, for comparison.
func paths(calls []call) []string {
	var short []string
	for _, made := range calls {
		parts := strings.Split(made.path, "/")
		at := slices.Index(parts, "namespaces")
		short = append(short, made.method+" "+strings.Join(parts[min(at+2, len(parts)):], "/"))
	}
	return short
}

// syncBuffer is a log that may be written and read at once. Each write is a line.
type syncBuffer struct {
	mu      sync.Mutex
	buffer  bytes.Buffer
	decided []string
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bytes.Contains(p, []byte(`"decided"`)) {
		b.decided = append(b.decided, string(p))
	}
	return b.buffer.Write(p)
}

// decisions are the lines of laps.
func (b *syncBuffer) decisions() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.decided)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func jsonLogger(output io.Writer, verbosity int) logr.Logger {
	return logr.FromSlogHandler(slog.NewJSONHandler(output, &slog.HandlerOptions{Level: slog.Level(-verbosity)}))
}
