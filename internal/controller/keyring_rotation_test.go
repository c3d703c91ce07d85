package controller_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/controller"
	"github.com/oauth-operator/oauth-operator/internal/seal"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

func keyringSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: controller.KeyringName}}
}

// askKeyring annotates the keyring Secret, as an administrator would, until the spec ends.
func askKeyring(ctx context.Context, key, value string) {
	GinkgoHelper()
	DeferCleanup(askNothing)
	change(ctx, keyringSecret(), func(secret *corev1.Secret) {
		if secret.Annotations == nil {
			secret.Annotations = map[string]string{}
		}
		secret.Annotations[key] = value
	})
}

// askNothing takes back what was asked for: what is left of one spec must not be carried out in the next.
func askNothing(ctx context.Context) {
	GinkgoHelper()
	change(ctx, keyringSecret(), func(secret *corev1.Secret) {
		delete(secret.Annotations, v1alpha1.AnnotationRotateKey)
		delete(secret.Annotations, v1alpha1.AnnotationRetireKey)
	})
}

// putKeyring puts the keyring back as it was, whatever is there now.
func putKeyring(ctx context.Context, as *corev1.Secret) {
	GinkgoHelper()
	restored := &corev1.Secret{ObjectMeta: keyringSecret().ObjectMeta, Data: as.Data}
	restored.Annotations = as.Annotations
	Expect(client.IgnoreNotFound(suite.admin.Delete(ctx, keyringSecret()))).To(Succeed())
	Expect(suite.admin.Create(ctx, restored)).To(Succeed())
}

// stateOf is what a key is good for by now.
func stateOf(id string) func() seal.KeyState {
	return func() seal.KeyState { return installedKeyring().KeyState(id) }
}

// comes waits until a key is in a state, and lets the time pass for which the operator waits before it tries again.
func comes(id string, state seal.KeyState) {
	GinkgoHelper()
	step, pause := 31*time.Second, 3*time.Second
	if state == seal.KeyPrimary { // nothing happens for ten minutes
		step, pause = time.Minute, time.Second
	}
	Eventually(func() seal.KeyState {
		suite.clock.ahead.Add(int64(step))
		return stateOf(id)()
	}).WithTimeout(2*time.Minute).WithPolling(pause).Should(Equal(state), saidOfKeys)
}

// saidOfKeys is what was said of the keyring, by all operators: it tells why a key is where it is.
func saidOfKeys() string {
	list := &eventsv1.EventList{}
	if err := suite.admin.List(context.Background(), list, client.InNamespace(operatorNamespace)); err != nil {
		return err.Error()
	}
	slices.SortFunc(list.Items, func(a, b eventsv1.Event) int { return a.EventTime.Compare(b.EventTime.Time) })
	var said []string
	for _, each := range list.Items {
		if each.Regarding.Kind == "Secret" {
			said = append(said, fmt.Sprintf("%s %s by %s: %s", each.EventTime.Format(time.TimeOnly), each.Reason, each.ReportingInstance, each.Note))
		}
	}
	return strings.Join(said, "\n")
}

// addedKey asks for a rotation and waits for the new key, which it returns after the one that seals.
func addedKey(ctx context.Context) (old, added string) {
	GinkgoHelper()
	old = installedKeyring().ID()
	askKeyring(ctx, v1alpha1.AnnotationRotateKey, old)
	Eventually(func() seal.KeyState {
		keys := installedKeyring().Keys()
		added = keys[len(keys)-1].ID
		return keys[len(keys)-1].State
	}).Should(Equal(seal.KeyDistributed))
	return old, added
}

// sealedUnder are the keys that seal what accounts hold.
func sealedUnder(ctx context.Context, accounts ...*v1alpha1.ConnectedAccount) func() map[string]int {
	return func() map[string]int {
		GinkgoHelper()
		keys := map[string]int{}
		for _, account := range accounts {
			id, err := seal.KeyID(get(ctx, account.DeepCopy()).Status.SealedCredential)
			Expect(err).NotTo(HaveOccurred())
			keys[id]++
		}
		return keys
	}
}

// saidOfKeyring are the events of the keyring Secret.
func saidOfKeyring(ctx context.Context) func() []string {
	return func() []string {
		GinkgoHelper()
		list := &eventsv1.EventList{}
		Expect(suite.admin.List(ctx, list, client.InNamespace(operatorNamespace))).To(Succeed())
		var said []string
		for i := range list.Items {
			if list.Items[i].Regarding.Name == controller.KeyringName {
				said = append(said, list.Items[i].Reason+": "+list.Items[i].Note)
			}
		}
		return said
	}
}

// callOnce calls the API with what is in a Secret.
func (s *stage) callOnce(ctx context.Context, web *http.Client, contract provider.Contract, name string) (string, error) {
	token := &corev1.Secret{}
	if err := suite.admin.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: name}, token); err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.provider.APIEndpoint(contract)+"/invoices", http.NoBody)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+string(token.Data["access_token"]))
	response, err := web.Do(request)
	if err != nil {
		return "", err
	}
	return response.Status, response.Body.Close()
}

// caller calls the API with what is in the Secrets, over and over, until it is stopped; it returns what was refused.
func (s *stage) caller(ctx context.Context, contract provider.Contract, names ...string) (stop func() (calls int, refused []string)) {
	GinkgoHelper()
	roots := x509.NewCertPool()
	Expect(roots.AppendCertsFromPEM(s.provider.CAPEM())).To(BeTrue())
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	calling, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	var mu sync.Mutex
	calls, refused := 0, []string(nil)
	call := func(name string) (string, error) { return s.callOnce(calling, web, contract, name) }
	for _, name := range names {
		all.Go(func() {
			for calling.Err() == nil {
				status, err := call(name)
				mu.Lock()
				if calling.Err() == nil {
					calls++
					if err != nil || status != "200 OK" {
						refused = append(refused, fmt.Sprintf("%s: %s %v", name, status, err))
					}
				}
				mu.Unlock()
				select {
				case <-calling.Done():
				case <-time.After(300 * time.Millisecond):
				}
			}
		})
	}
	stop = func() (int, []string) {
		cancel()
		all.Wait()
		return calls, refused
	}
	DeferCleanup(func() { stop() })
	return stop
}

var _ = Describe("The keys of the keyring", Serial, func() {
	It("S41 are rotated under load, with two replicas at work: no token is lost, used twice or missing", func(ctx SpecContext) {
		s := newStage(ctx, 25*time.Second, provider.ReusePolicy{Kind: provider.RevokeFamily})
		s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, "a", "b", "c", "d")
		for _, name := range []string{"k", "l", "m"} {
			account := s.account(name, "bills")
			s.create(ctx, account)
			accounts = append(accounts, account)
		}
		becomesReady(ctx, accounts...)
		idle := s.account("idle", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
		s.create(ctx, idle)
		becomesReady(ctx, idle)
		change(ctx, idle.DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		stop := s.caller(ctx, provider.Smartbills, "a", "b", "c", "d", "k", "l", "m")
		rotated := func() int64 {
			least := rotations(ctx, accounts[0])()
			for _, account := range accounts[1:] {
				least = min(least, rotations(ctx, account)())
			}
			return least
		}
		old, added := addedKey(ctx)
		before := rotated()
		Expect(stateOf(old)()).To(Equal(seal.KeyPrimary))
		suite.clock.ahead.Add(int64(seal.KeyDistribution))
		Eventually(stateOf(added)).Should(Equal(seal.KeyPrimary))
		everyone := append([]*v1alpha1.ConnectedAccount{idle}, accounts...)
		Eventually(sealedUnder(ctx, everyone...)).Should(Equal(map[string]int{added: 8}))
		Eventually(rotated).Should(BeNumerically(">", before))

		By("retiring the old key, beside rotations that go on")
		before = rotated()
		askKeyring(ctx, v1alpha1.AnnotationRetireKey, old)
		suite.clock.ahead.Add(int64(time.Hour))
		comes(old, "")
		Eventually(rotated).Should(BeNumerically(">", before))
		becomesReady(ctx, accounts...)
		Expect(sealedUnder(ctx, everyone...)()).To(Equal(map[string]int{added: 8}))
		Expect(installedKeyring().Retired(old)).To(BeTrue())
		calls, refused := stop()
		Expect(calls).To(BeNumerically(">", 50))
		Expect(refused).To(BeEmpty())
		s.neverReused()
		for _, account := range accounts {
			Expect(get(ctx, account.DeepCopy()).Status.DoubtSequence).To(BeZero(), account.Name)
			Expect(condition(ctx, account, v1alpha1.ConditionAuthorized)()).To(HavePrefix("True "), account.Name)
		}
		Expect(saidOfKeyring(ctx)()).To(ContainElements(
			HavePrefix("KeyAdded: "), HavePrefix("KeyInUse: key "+added), HavePrefix("KeyDisabled: nothing is sealed under key "+old), HavePrefix("KeyRetired: key "+old)))
		Expect(scrape()).To(ContainSubstring(fmt.Sprintf("oauth_operator_sealed_credentials{key=%q}", added)))
	})

	It("S41 seal an account anew with one write, which changes nothing else and calls nobody", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, "a", "b")
		change(ctx, accounts[1].DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		Eventually(condition(ctx, accounts[1], v1alpha1.ConditionReady)).Should(Equal("True Suspended"))
		_, added := addedKey(ctx)
		rests(ctx, accounts[0])
		rests(ctx, accounts[1])
		var before []v1alpha1.ConnectedAccountStatus
		for _, account := range accounts {
			before = append(before, get(ctx, account.DeepCopy()).Status)
		}
		published, requests, mark := projected(s.tokenSecret(ctx, "a")), s.provider.TokenRequests(), suite.wire.mark()
		suite.clock.ahead.Add(int64(seal.KeyDistribution))
		Eventually(sealedUnder(ctx, accounts...)).Should(Equal(map[string]int{added: 2}))
		rests(ctx, accounts[0])
		for i, account := range accounts {
			after := get(ctx, account.DeepCopy()).Status
			after.SealedCredential = before[i].SealedCredential
			Expect(after).To(Equal(before[i]))
		}
		Expect(paths(suite.wire.since(mark, writesWithin(s.namespace)))).To(ConsistOf("PUT connectedaccounts/a/status", "PUT connectedaccounts/b/status"))
		Expect(projected(s.tokenSecret(ctx, "a"))).To(Equal(published))
		Expect(s.provider.TokenRequests()).To(Equal(requests))
		change(ctx, accounts[1].DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
		s.goesOn(ctx, accounts...)
	})

	It("S41 seal a result under the key that is in use when it is written, not when it came", func(ctx SpecContext) {
		s := newStage(ctx, 2*time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		account := s.connected(ctx)
		hold := provider.NewHold()
		DeferCleanup(hold.Release)
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
		before := rotations(ctx, account)()
		pass(ctx, 85*time.Minute, account) // a third of its lifetime is left, and enough for a key to be distributed
		Eventually(hold.Reached()).Should(BeClosed())
		_, added := addedKey(ctx)
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method == http.MethodPut && request.URL.Path == statusPath(account) {
				return http.StatusServiceUnavailable
			}
			return 0
		})
		mark := suite.wire.mark()
		hold.Release()
		Eventually(func() []call {
			return suite.wire.since(mark, func(made call) bool {
				return made.path == statusPath(account) && made.status == http.StatusServiceUnavailable
			})
		}).ShouldNot(BeEmpty(), "the result waits to be written")
		Expect(stateOf(added)()).To(Equal(seal.KeyDistributed))
		suite.clock.ahead.Add(int64(seal.KeyDistribution))
		Eventually(stateOf(added)).Should(Equal(seal.KeyPrimary))
		mark = suite.wire.mark()
		suite.wire.set(nil)
		Eventually(rotations(ctx, account)).Should(Equal(before + 1))
		Expect(sealedUnder(ctx, account)()).To(Equal(map[string]int{added: 1}))
		Eventually(func() []string { return paths(suite.wire.since(mark, writesWithin(s.namespace))) }).Should(Equal([]string{"PUT connectedaccounts/a/status", "PUT secrets/a"}), "nothing is sealed a second time")
		pass(ctx, 30*time.Minute)
		s.goesOn(ctx, account)
	})

	It("S41 are looked at by a process that slept while one was retired, before it seals with what it remembers", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connect(ctx, v1alpha1.RefreshTokens{Use: v1alpha1.RefreshTokenReusable}, "a")[0]
		s.alone(ctx) // other accounts need the key as well, and the process that sleeps is theirs
		old, added := installedKeyring().ID(), ""
		change(ctx, keyringSecret(), func(secret *corev1.Secret) {
			stored, err := seal.ParseKeyring(secret.Data)
			Expect(err).NotTo(HaveOccurred())
			more, err := stored.WithNewKey()
			Expect(err).NotTo(HaveOccurred())
			keys := more.Keys()
			secret.Data, added = more.Data(), keys[len(keys)-1].ID
		})
		rests(ctx, account)
		refuses := func(request *http.Request) int {
			if request.Method == http.MethodPut && request.URL.Path == statusPath(account) {
				return http.StatusServiceUnavailable
			}
			return 0
		}
		suite.wire.refusing(refuses)
		before, mark := rotations(ctx, account)(), suite.wire.mark()
		pass(ctx, untilDue, account)
		Eventually(func() []call {
			return suite.wire.since(mark, func(made call) bool {
				return made.path == statusPath(account) && made.status == http.StatusServiceUnavailable
			})
		}).ShouldNot(BeEmpty(), "the result waits to be written")
		change(ctx, account.DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
		suite.wire.frozenKeyring.Lock()
		thaw := sync.OnceFunc(suite.wire.frozenKeyring.Unlock)
		DeferCleanup(thaw)

		By("another replica, which replaces the key and retires it")
		s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
		askKeyring(ctx, v1alpha1.AnnotationRotateKey, old)
		comes(added, seal.KeyPrimary)
		Eventually(sealedUnder(ctx, account)).WithTimeout(time.Minute).Should(Equal(map[string]int{added: 1}))
		askKeyring(ctx, v1alpha1.AnnotationRetireKey, old)
		suite.clock.ahead.Add(int64(time.Hour))
		comes(old, "")
		Expect(rotations(ctx, account)()).To(Equal(before))
		suite.clock.ahead.Add(int64(61 * time.Second))

		suite.wire.set(nil)
		Eventually(rotations(ctx, account)).Should(Equal(before + 1))
		Expect(sealedUnder(ctx, account)()).To(Equal(map[string]int{added: 1}))
		thaw()
		change(ctx, account.DeepCopy(), func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
		becomesReady(ctx, account)
	})

	It("S41 go on where a process was stopped, whatever stage it had reached", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		suite.wire.refusing(func(request *http.Request) int {
			if request.Method == http.MethodPut && strings.HasSuffix(request.URL.Path, "/secrets/"+controller.KeyringName) {
				return http.StatusServiceUnavailable
			}
			return 0
		})
		lives := func(reached func()) {
			GinkgoHelper()
			one := s.operator(ctx, seal.JournalOptions{Dir: GinkgoT().TempDir()})
			Eventually(func() []call {
				return one.wire.since(0, func(made call) bool { return strings.Contains(made.path, "/secrets") && made.status == http.StatusOK })
			}).ShouldNot(BeEmpty())
			reached()
			one.stop()
		}
		var old, added string
		lives(func() { old, added = addedKey(ctx) })
		lives(func() { comes(added, seal.KeyPrimary) })
		Eventually(sealedUnder(ctx, account)).Should(Equal(map[string]int{added: 1}))
		askKeyring(ctx, v1alpha1.AnnotationRetireKey, old)
		suite.clock.ahead.Add(int64(time.Hour))
		Expect(stateOf(old)()).To(Equal(seal.KeyDecryptOnly))
		lives(func() {
			Consistently(stateOf(old), 2*time.Second).Should(Equal(seal.KeyDecryptOnly), "it counts from when it saw the key itself")
			suite.clock.ahead.Add(int64(time.Hour))
			comes(old, seal.KeyDisabled)
		})
		lives(func() { comes(old, "") })
		s.goesOn(ctx, account)
	})

	DescribeTable("S40 that are lost in the middle of a rotation are named; nothing is sent or written over, and it goes on when they are back",
		func(ctx SpecContext, promoted bool, damage func(ctx context.Context, now, before *corev1.Secret)) {
			s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
			account := s.connected(ctx)
			earlier := get(ctx, keyringSecret())
			_, added := addedKey(ctx)
			if promoted {
				suite.clock.ahead.Add(int64(seal.KeyDistribution))
				Eventually(sealedUnder(ctx, account)).Should(Equal(map[string]int{added: 1}))
			}
			now := get(ctx, keyringSecret())
			damaged := true
			DeferCleanup(func(ctx SpecContext) {
				if damaged {
					putKeyring(ctx, now)
				}
			})
			damage(ctx, now.DeepCopy(), earlier)
			Eventually(authorized(ctx, account)).Should(Equal("False KeyringMissing"))
			s.guarded(ctx, account, "keyring missing")

			putKeyring(ctx, now)
			damaged = false
			becomesReady(ctx, account)
			suite.clock.ahead.Add(int64(seal.KeyDistribution))
			Eventually(sealedUnder(ctx, account)).Should(Equal(map[string]int{added: 1}))
			s.goesOn(ctx, account)
		},
		Entry("deleted while the new one is distributed", false, removeKeyring),
		Entry("deleted when it seals", true, removeKeyring),
		Entry("replaced while the new one is distributed", false, replaceKeyring),
		Entry("replaced when it seals", true, replaceKeyring),
		Entry("cut off while the new one is distributed", false, cutKeyring),
		Entry("cut off when it seals", true, cutKeyring),
		Entry("put back to before the rotation", true, func(ctx context.Context, _, before *corev1.Secret) { putKeyring(ctx, before) }),
		Entry("mixed with the fingerprint key of another", true, func(ctx context.Context, now, _ *corev1.Secret) {
			change(ctx, now, func(secret *corev1.Secret) {
				secret.Data[seal.FingerprintKeyset] = otherKeyring().Data()[seal.FingerprintKeyset]
			})
		}),
	)

	It("are not retired while an account needs one, or where the request is wrong, and it is said why", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour, provider.ReusePolicy{Kind: provider.RevokeFamily})
		accounts := s.connect(ctx, v1alpha1.RefreshTokens{}, "a", "b")
		account, other := accounts[0], accounts[1]
		backup := get(ctx, other.DeepCopy()).Status
		askKeyring(ctx, v1alpha1.AnnotationRotateKey, "now")
		Eventually(saidOfKeyring(ctx)).Should(ContainElement(And(HavePrefix("KeyNotRotated: "), HaveSuffix(v1alpha1.AnnotationRotateKey+"="+installedKeyring().ID()))))
		old, added := addedKey(ctx)
		askKeyring(ctx, v1alpha1.AnnotationRetireKey, old)
		suite.clock.ahead.Add(int64(seal.KeyDistribution))
		Eventually(sealedUnder(ctx, accounts...)).Should(Equal(map[string]int{added: 2}))

		By("an account that holds what was made for another")
		putStatus(ctx, other, func(status *v1alpha1.ConnectedAccountStatus) {
			*status = *backup.DeepCopy()
			status.BoundTo.AccountUID = "another"
		})
		Eventually(authorized(ctx, other)).Should(Equal("False CredentialFromElsewhere"))
		suite.clock.ahead.Add(int64(time.Hour))
		Eventually(saidOfKeyring(ctx)).Should(ContainElement(SatisfyAll(
			HavePrefix("KeyNeeded: key "+old+" is not retired yet"), ContainSubstring(other.Namespace+"/"+other.Name), ContainSubstring("adopt it, or delete it"))))
		Expect(stateOf(old)()).To(Equal(seal.KeyDecryptOnly))
		s.remove(ctx, other)

		By("an account whose refresh token is being spent")
		hold := provider.NewHold()
		DeferCleanup(hold.Release)
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
		pass(ctx, untilDue, account)
		Eventually(hold.Reached()).Should(BeClosed())
		Eventually(func() []string {
			suite.clock.ahead.Add(int64(31 * time.Second))
			return saidOfKeyring(ctx)()
		}).WithPolling(2 * time.Second).Should(ContainElement(And(HavePrefix("KeyNeeded: key "+old), ContainSubstring(account.Namespace+"/a, which has an open claim"))))
		Expect(stateOf(old)()).To(Equal(seal.KeyDecryptOnly))
		hold.Release()
		Eventually(func() v1alpha1.Claim { return get(ctx, account.DeepCopy()).Status.Claim }).Should(BeZero())
		comes(old, "")
		s.goesOn(ctx, account)
	})

	It("come back when one turns out to be needed in its last minute", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		old, added := addedKey(ctx)
		before := installedKeyring()
		suite.clock.ahead.Add(int64(seal.KeyDistribution))
		Eventually(sealedUnder(ctx, account)).Should(Equal(map[string]int{added: 1}))
		rotates(ctx, account)
		rotates(ctx, account)
		askKeyring(ctx, v1alpha1.AnnotationRetireKey, old)
		Eventually(stateOf(old)).WithTimeout(time.Minute).Should(Equal(seal.KeyDisabled))

		putStatus(ctx, account, func(status *v1alpha1.ConnectedAccountStatus) {
			subject := subjectOf(ctx, account)
			held, err := installedKeyring().Open(seal.PurposeCredential, subject, status.SealedCredential)
			Expect(err).NotTo(HaveOccurred())
			status.SealedCredential, err = before.Seal(seal.PurposeCredential, subject, held)
			Expect(err).NotTo(HaveOccurred())
		})
		Eventually(authorized(ctx, account)).Should(Equal("False KeyringMissing"))
		comes(old, seal.KeyDecryptOnly)
		Eventually(authorized(ctx, account)).Should(Equal("True Authorized"))
		Eventually(sealedUnder(ctx, account)).WithTimeout(time.Minute).Should(Equal(map[string]int{added: 1}))
		s.goesOn(ctx, account)
	})
})

func removeKeyring(ctx context.Context, _, _ *corev1.Secret) {
	Expect(suite.admin.Delete(ctx, keyringSecret())).To(Succeed())
}

func replaceKeyring(ctx context.Context, now, _ *corev1.Secret) {
	now.Data = otherKeyring().Data()
	putKeyring(ctx, now)
}

func cutKeyring(ctx context.Context, now, _ *corev1.Secret) {
	change(ctx, now, func(secret *corev1.Secret) {
		text := secret.Data[seal.SealingKeyset]
		secret.Data[seal.SealingKeyset] = text[:len(text)/2]
	})
}
