package controller_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// oneWorker makes one lap after the other, so that the log shows their order.
func oneWorker(options *ctrl.Options) { options.Controller.MaxConcurrentReconciles = 1 }

// firsts are the accounts in the order in which an operator's laps first decided about each, from a place in its log on.
func (o *operator) firsts(from int) []string {
	var names []string
	for _, line := range o.logs.decisions()[from:] {
		var decided lap
		if json.Unmarshal([]byte(line), &decided) == nil && !slices.Contains(names, decided.Name) {
			names = append(names, decided.Name)
		}
	}
	return names
}

// kinds are names without the number behind the last dash.
func kinds(names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, name[:max(strings.LastIndex(name, "-"), 0)])
	}
	return all
}

// lasting has the next token live for so long, whatever is registered.
func (s *stage) lasting(lifetime time.Duration) {
	GinkgoHelper()
	Expect(s.provider.Script(billsID, provider.ReplyWith(http.StatusOK, http.Header{"Content-Type": {"application/json"}},
		fmt.Sprintf(`{"access_token":"short","token_type":"Bearer","expires_in":%d}`, int(lifetime.Seconds()))))).To(Succeed())
}

// occupy keeps a worker of the operator in a lap of the account, until the returned function is called.
func (o *operator) occupy(ctx context.Context, account *v1alpha1.ConnectedAccount) (goOn func()) {
	GinkgoHelper()
	token, path := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}, "/secrets/"+account.Name
	held, reached := make(chan struct{}), make(chan struct{})
	var once, first sync.Once
	goOn = func() { once.Do(func() { close(held) }) }
	DeferCleanup(goOn)
	o.wire.set(func(request *http.Request) int {
		if request.Method == http.MethodGet && strings.HasSuffix(request.URL.Path, path) {
			first.Do(func() { close(reached) })
			<-held
		}
		return 0
	})
	change(ctx, token, func(secret *corev1.Secret) { secret.Labels["touched"] = "true" })
	Eventually(reached).Should(BeClosed())
	return goOn
}

var _ = Describe("Where many accounts want a lap", func() {
	const (
		lifetime = 3 * time.Hour
		passed   = 125 * time.Minute // two hours at the latest, and a token of three hours is due; it has most of an hour left
	)

	It("those without a token go before those that are due and have time, and these before those that have nothing to do, from the start", func(ctx SpecContext) {
		s := newStage(ctx, lifetime)
		// What one that goes on working has yet to look at when the time has passed, it would refresh before the other begins.
		blind()
		earlier := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		s.create(ctx, s.bills(), s.business(func(c *v1alpha1.OAuthClient) { c.Spec.RefreshBeforeSeconds = 60 }))
		s.lasting(passed + 50*time.Second)
		ending := s.account("ending-0", "bills")
		s.create(ctx, ending)
		becomesReady(ctx, ending)
		s.lasting(passed + 5*time.Minute)
		near := s.account("near-0", "bills")
		s.create(ctx, near)
		becomesReady(ctx, near)
		// Their names are in the order in which they would be looked at otherwise.
		var ready []*v1alpha1.ConnectedAccount
		for i := range 3 {
			ready = append(ready, s.account(fmt.Sprintf("an-idle-%d", i), "business"), s.account(fmt.Sprintf("because-due-%d", i), "bills"))
		}
		for _, account := range ready {
			s.create(ctx, account)
		}
		becomesReady(ctx, ready...)

		earlier.stop()
		suite.clock.ahead.Add(int64(passed))
		s.create(ctx, s.account("the-new-0", "a-client-that-is-not-there-yet"))
		looking := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()}, oneWorker)
		Eventually(func() []string { return looking.firsts(0) }).Should(HaveLen(3 + len(ready)))
		Expect(kinds(looking.firsts(0))).To(Equal([]string{
			"ending", "the-new", "near", "because-due", "because-due", "because-due", "an-idle", "an-idle", "an-idle",
		}))
	})

	It("a new account goes before one that was edited, and that before the many that a change of their client is for", func(ctx SpecContext) {
		s := newStage(ctx, lifetime)
		owner := s.bills()
		s.create(ctx, owner, s.business())
		many := s.several(ctx, 5)
		edited, busy := s.account("edited-0", "business"), s.account("busy-0", "bills")
		s.create(ctx, edited, busy)
		becomesReady(ctx, append(many, edited, busy)...)

		blind()
		s.alone(ctx)
		looking := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()}, oneWorker)
		Eventually(func() []string { return looking.firsts(0) }).Should(HaveLen(len(many) + 2))
		Eventually(looking.waiting).Should(BeZero())
		goOn := looking.occupy(ctx, busy)
		from := len(looking.logs.decisions())
		// Each is known to wait before the next one comes. The order is the opposite of that in which they are to go.
		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.TokenRequest.TimeoutSeconds = 7 })
		Eventually(looking.waiting).Should(Equal(len(many) + 1)) // the busy one as well
		touch(ctx, edited)
		Eventually(looking.waiting).Should(Equal(len(many) + 2))
		s.create(ctx, s.account("new-0", "a-client-that-is-not-there-yet"))
		Eventually(looking.waiting).Should(Equal(len(many) + 3))
		goOn()
		Eventually(func() []string { return kinds(looking.firsts(from)) }).Should(HaveLen(1 + len(many) + 2))
		Expect(kinds(looking.firsts(from))).To(Equal([]string{"busy", "new", "edited", "bills", "bills", "bills", "bills", "bills"}))
	})
})
