package controller_test

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/oauth"
	"github.com/oauth-operator/oauth-operator/internal/pace"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// operator is one of the processes that a spec runs, within this one.
type operator struct {
	wire     *wire
	logs     *syncBuffer
	inFlight *controller.InFlight
	journal  *seal.Journal
	parts    *parts
	// stop ends the manager and waits for that; what is in flight goes on. It may be called again.
	stop func()
}

// parts are what an operator adds to its manager.
type parts struct {
	ctrl.Manager
	added []manager.Runnable
}

func (p *parts) Add(part manager.Runnable) error {
	p.added = append(p.added, part)
	return p.Manager.Add(part)
}

// waiting counts the laps of accounts that wait for the operator's workers.
func (o *operator) waiting() int {
	for _, part := range o.parts.added {
		if laps, known := controller.Waiting(part); known {
			return laps
		}
	}
	return 0
}

// run runs an operator until the end of the node that calls it.
func run(ctx context.Context, seen *wire, options ctrl.Options) {
	GinkgoHelper()
	start(ctx, seen, options, seal.JournalOptions{Dir: GinkgoT().TempDir()})
}

// start is run, for a spec that ends the operator itself, or looks into it.
func start(ctx context.Context, seen *wire, options ctrl.Options, in seal.JournalOptions) *operator {
	GinkgoHelper()
	asOperator, err := suite.cluster.ServiceAccountConfig(ctx, operatorNamespace, "oauth-operator")
	Expect(err).NotTo(HaveOccurred())
	asOperator.QPS, asOperator.Burst = 500, 1000
	asOperator.Wrap(seen.wrap)
	options.Metrics, options.HealthProbeBindAddress = metricsserver.Options{BindAddress: "0"}, "0"
	options.Controller.SkipNameValidation = new(true)
	manages, err := ctrl.NewManager(asOperator, options)
	Expect(err).NotTo(HaveOccurred())

	journal, err := seal.OpenJournal(in)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(journal.Close)
	kubeSystem := &corev1.Namespace{}
	Expect(suite.admin.Get(ctx, types.NamespacedName{Name: "kube-system"}, kubeSystem)).To(Succeed())
	measured := suite.metrics
	if seen != suite.wire {
		measured = controller.NewMetrics(suite.clock) // each tells of its own requests alone
	}
	running, cancel := context.WithCancel(context.Background())
	started := &operator{wire: seen, inFlight: &controller.InFlight{}, journal: journal, parts: &parts{Manager: manages}}
	Expect(controller.Setup(running, started.parts, controller.Options{
		Namespace: operatorNamespace, ClusterID: string(kubeSystem.UID),
		Egress: oauth.Egress{AllowLoopback: true, DenyAddrPorts: []netip.AddrPort{apiServerAddress()}}, Workers: cmp.Or(options.Controller.MaxConcurrentReconciles, workers),
		Limits: pace.Limits{Namespace: 32, Total: 64}, MaxAccounts: maxAccounts,
		Clock: suite.clock, Metrics: measured, InFlight: started.inFlight,
		Journal: journal, TakeoverWait: 30 * time.Second, ConsentURL: consentURL,
	})).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- manages.Start(running) }()
	var once sync.Once
	started.stop = func() {
		once.Do(func() {
			cancel()
			Eventually(ended).Should(Receive(Or(Succeed(), MatchError(ContainSubstring("grace period")))))
		})
	}
	DeferCleanup(started.stop)
	return started
}

// operator starts one that sees the stage's namespace and no other. Whether it leads is for the changes to say.
func (s *stage) operator(ctx context.Context, in seal.JournalOptions, changes ...func(*ctrl.Options)) *operator {
	GinkgoHelper()
	logs := &syncBuffer{}
	options := changed(&ctrl.Options{
		Scheme: suite.admin.Scheme(), Logger: jsonLogger(logs, 5),
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{s.namespace: {}}},
		// A lap waits for its exchange, which some of these never end.
		GracefulShutdownTimeout: new(100 * time.Millisecond),
	}, changes)
	started := start(ctx, &wire{}, *options, in)
	started.logs = logs
	return started
}

// withoutLease makes an operator wait for a lease that somebody else holds.
func withoutLease(ctx context.Context) func(*ctrl.Options) {
	GinkgoHelper()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, GenerateName: "held-"},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("another"), LeaseDurationSeconds: new(int32(600)), RenewTime: &metav1.MicroTime{Time: time.Now()},
		},
	}
	Expect(suite.admin.Create(ctx, lease)).To(Succeed())
	DeferCleanup(func(ctx SpecContext) { Expect(suite.admin.Delete(ctx, lease)).To(Succeed()) })
	return func(options *ctrl.Options) {
		options.LeaderElection, options.LeaderElectionID, options.LeaderElectionNamespace = true, lease.Name, operatorNamespace
	}
}

// alone waits until no account and no token Secret of another spec is left: an account stays until its grant is revoked, and
// a Secret until the garbage collector comes to it, and both start laps.
func (s *stage) alone(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() ([]string, error) {
		accounts, secrets, others := &v1alpha1.ConnectedAccountList{}, &corev1.SecretList{}, []string(nil)
		if err := suite.admin.List(ctx, accounts); err != nil {
			return nil, err
		}
		if err := suite.admin.List(ctx, secrets, client.HasLabels{v1alpha1.LabelAccount}); err != nil {
			return nil, err
		}
		for _, each := range accounts.Items {
			others = append(others, each.Namespace+"/"+each.Name)
		}
		for _, each := range secrets.Items {
			others = append(others, each.Namespace+"/"+each.Name)
		}
		return slices.DeleteFunc(others, func(name string) bool { return strings.HasPrefix(name, s.namespace+"/") }), nil
	}).WithTimeout(5 * time.Minute).WithPolling(time.Second).Should(BeEmpty())
}

// blind keeps the suite's operator from seeing what becomes of accounts, so that another one works on them alone: until
// the spec ends, or until the returned function is called.
func blind() (see func()) {
	suite.wire.frozen.Lock()
	var once sync.Once
	see = func() { once.Do(suite.wire.frozen.Unlock) }
	DeferCleanup(see)
	return see
}

// connect makes the client bills and accounts that have taken a grant over, each ready.
func (s *stage) connect(ctx context.Context, tokens v1alpha1.RefreshTokens, names ...string) []*v1alpha1.ConnectedAccount {
	GinkgoHelper()
	s.create(ctx, s.bills(withRefresh(tokens)))
	var accounts []*v1alpha1.ConnectedAccount
	for _, name := range names {
		account := s.imported(ctx, name, "bills", billsID)
		s.create(ctx, account)
		accounts = append(accounts, account)
	}
	becomesReady(ctx, accounts...)
	return accounts
}

// connected is connect for one account, with the strictest client.
func (s *stage) connected(ctx context.Context) *v1alpha1.ConnectedAccount {
	GinkgoHelper()
	return s.connect(ctx, v1alpha1.RefreshTokens{}, "a")[0]
}

const (
	// untilDue is after which a token of an hour is refreshed, and not expired.
	untilDue = 50 * time.Minute
	// untilProbed is after which a change is tried, whatever failed before.
	untilProbed = 31 * time.Second
)

// rotations is the number of the account's last result.
func rotations(ctx context.Context, account *v1alpha1.ConnectedAccount) func() int64 {
	return func() int64 {
		GinkgoHelper()
		return get(ctx, account.DeepCopy()).Status.Rotations
	}
}

// rotates lets the accounts become due, and waits until each has a new token in its Secret and nothing open.
func rotates(ctx context.Context, accounts ...*v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	before := make([]int64, len(accounts))
	for i, account := range accounts {
		before[i] = rotations(ctx, account)()
	}
	pass(ctx, untilDue, accounts...)
	for i, account := range accounts {
		Eventually(rotations(ctx, account)).Should(BeNumerically(">", before[i]))
		Eventually(func() v1alpha1.Claim { return get(ctx, account.DeepCopy()).Status.Claim }).Should(BeZero())
	}
	becomesReady(ctx, accounts...)
	for _, account := range accounts {
		token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
		Eventually(func() string { return string(get(ctx, token).Data["access_token"]) }).Should(Equal(opened(ctx, account).AccessToken.Reveal()))
	}
}

// putStatus writes a status as whoever may update the keyring may do.
func putStatus(ctx context.Context, account *v1alpha1.ConnectedAccount, edit func(*v1alpha1.ConnectedAccountStatus)) {
	GinkgoHelper()
	Eventually(func() error {
		current := account.DeepCopy()
		if err := suite.admin.Get(ctx, client.ObjectKeyFromObject(account), current); err != nil {
			return err
		}
		edit(&current.Status)
		return suite.admin.Status().Update(ctx, current)
	}).Should(Succeed())
}

// subjectOf is whom the account's credential is sealed for.
func subjectOf(ctx context.Context, account *v1alpha1.ConnectedAccount) seal.Subject {
	GinkgoHelper()
	kubeSystem := get(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}})
	return seal.Subject{ClusterID: string(kubeSystem.UID), Namespace: account.Namespace, Name: account.Name, UID: string(account.UID)}
}

// opened is the credential that the account holds.
func opened(ctx context.Context, account *v1alpha1.ConnectedAccount) seal.Credential {
	GinkgoHelper()
	held, err := installedKeyring().Open(seal.PurposeCredential, subjectOf(ctx, account), get(ctx, account.DeepCopy()).Status.SealedCredential)
	Expect(err).NotTo(HaveOccurred())
	return held
}

// entries are those of the provider's ledger that match.
func (s *stage) entries(match func(provider.Entry) bool) []provider.Entry {
	var found []provider.Entry
	for _, entry := range s.provider.Ledger() {
		if match(entry) {
			found = append(found, entry)
		}
	}
	return found
}

// neverReused checks that the provider saw no refresh token that was spent before.
func (s *stage) neverReused() {
	GinkgoHelper()
	Expect(s.entries(func(entry provider.Entry) bool { return entry.Kind == provider.KindReused })).To(BeEmpty())
}

// lastSent is the fingerprint, as the provider's ledger writes it, of the refresh token that was sent last.
func (s *stage) lastSent() string {
	sent := s.entries(func(entry provider.Entry) bool {
		return entry.Kind == provider.KindTokenRequest && entry.RefreshFingerprint != ""
	})
	if len(sent) == 0 {
		return ""
	}
	return sent[len(sent)-1].RefreshFingerprint
}

// printedLine is a command that a message prints for whoever reads it.
var printedLine = regexp.MustCompile(`kubectl (label|annotate)(?: --overwrite)? (secret|connectedaccount|oauthclient) -n (\S+) (\S+) (\S+?)=(\S+)`)

// obey does what the message says.
func obey(ctx context.Context, message string) {
	GinkgoHelper()
	said := printedLine.FindStringSubmatch(message)
	Expect(said).NotTo(BeNil(), "no command is printed in %q", message)
	named := metav1.ObjectMeta{Namespace: said[3], Name: said[4]}
	object, known := map[string]client.Object{
		"secret":           &corev1.Secret{ObjectMeta: named},
		"connectedaccount": &v1alpha1.ConnectedAccount{ObjectMeta: named},
		"oauthclient":      &v1alpha1.OAuthClient{ObjectMeta: named},
	}[said[2]]
	Expect(known).To(BeTrue())
	change(ctx, object, func(object client.Object) {
		read, write := object.GetAnnotations, object.SetAnnotations
		if said[1] == "label" {
			read, write = object.GetLabels, object.SetLabels
		}
		all := map[string]string{said[5]: said[6]}
		for key, value := range read() {
			if key != said[5] {
				all[key] = value
			}
		}
		write(all)
	})
}

// annotate sets an annotation of an account; "" removes it.
func annotate(ctx context.Context, account *v1alpha1.ConnectedAccount, key, value string) {
	GinkgoHelper()
	change(ctx, account.DeepCopy(), func(a *v1alpha1.ConnectedAccount) {
		if a.Annotations == nil {
			a.Annotations = map[string]string{}
		}
		a.Annotations[key] = value
		if value == "" {
			delete(a.Annotations, key)
		}
	})
}

// remove deletes an account that holds a consent, and waits until it and its token Secret are gone.
func (s *stage) remove(ctx context.Context, account *v1alpha1.ConnectedAccount) {
	GinkgoHelper()
	annotate(ctx, account, v1alpha1.AnnotationAllowDelete, account.Name)
	Expect(suite.admin.Delete(ctx, account.DeepCopy())).To(Succeed())
	for _, object := range []client.Object{account.DeepCopy(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: account.Name}}} {
		Eventually(func() error {
			return client.IgnoreNotFound(suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object))
		}).Should(Succeed())
		Eventually(func() bool {
			return suite.admin.Get(ctx, client.ObjectKeyFromObject(object), object) != nil
		}, time.Minute).Should(BeTrue(), fmt.Sprintf("%T", object))
	}
}
