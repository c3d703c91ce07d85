package controller_test

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/test/provider"
)

// listener is a host that must hear nothing: it counts connections and bytes.
type listener struct {
	net.Listener
	mu                 sync.Mutex
	connections, bytes int
}

// listen opens one at an address; port 0 is any.
func listen(ctx SpecContext, address string) *listener {
	GinkgoHelper()
	opened, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	Expect(err).NotTo(HaveOccurred())
	l := &listener{Listener: opened}
	DeferCleanup(l.Close)
	go func() {
		for {
			accepted, err := l.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.connections++
			l.mu.Unlock()
			go l.count(accepted)
		}
	}()
	return l
}

func (l *listener) count(accepted net.Conn) {
	defer func() { _ = accepted.Close() }()
	buffer := make([]byte, 1024)
	for {
		n, err := accepted.Read(buffer)
		l.mu.Lock()
		l.bytes += n
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// heard is how many connections came and bytes on them.
func (l *listener) heard() [2]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return [2]int{l.connections, l.bytes}
}

// at is the endpoint at another host and port.
func at(endpoint, host string) v1alpha1.Endpoint {
	GinkgoHelper()
	parsed, err := url.Parse(endpoint)
	Expect(err).NotTo(HaveOccurred())
	parsed.Host = host
	return v1alpha1.Endpoint(parsed.String())
}

// elsewhere is the same endpoint under another name of the machine.
func elsewhere(endpoint v1alpha1.Endpoint) v1alpha1.Endpoint {
	return v1alpha1.Endpoint(strings.Replace(string(endpoint), "127.0.0.1", "localhost", 1))
}

var _ = Describe("A client that changes under a refresh token", func() {
	DescribeTable("S12 H57 with another place to send it to: the place hears nothing, not even when the account is deleted",
		func(ctx SpecContext, address func(s *stage) string) {
			s := newStage(ctx, time.Hour)
			account := s.connected(ctx)
			second := listen(ctx, address(s))
			owner := s.bills()
			endpoint := s.provider.TokenEndpoint(provider.Smartbills)
			change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.Endpoints.Token = at(endpoint, second.Addr().String()) })
			Eventually(authorized(ctx, account)).Should(Equal("False EndpointChanged"))
			Expect(condition(ctx, account, "Ready")()).To(Equal("True EndpointChanged"), "the token in the Secret is good")
			Expect(readyMessage(ctx, account)).To(ContainSubstring("https://" + second.Addr().String()))
			s.guarded(ctx, account, "endpoint changed")
			Eventually(condition(ctx, account, "Ready")).Should(Equal("True EndpointChanged"))
			pass(ctx, time.Hour, account)
			Eventually(condition(ctx, account, "Ready")).Should(Equal("False EndpointChanged"))
			Expect(condition(ctx, account, "Stalled")()).To(Equal("True EndpointChanged"))

			By("putting it back and again")
			change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.Endpoints.Token = v1alpha1.Endpoint(endpoint) })
			becomesReady(ctx, account)
			change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.Endpoints.Token = at(endpoint, second.Addr().String()) })
			Eventually(authorized(ctx, account)).Should(Equal("False EndpointChanged"))
			s.remove(ctx, account)
			Expect(suite.admin.Delete(ctx, owner)).To(Succeed())
			// Suspended until the operator has seen that the client is gone: before, it would ask where that has said.
			last := s.account("last", "bills", func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = true })
			s.create(ctx, last)
			Eventually(condition(ctx, last, "ClientReady")).Should(Equal("False ClientNotAvailable"))
			change(ctx, last, func(a *v1alpha1.ConnectedAccount) { a.Spec.Suspend = false })
			Eventually(condition(ctx, last, "Ready")).Should(Equal("False ClientNotAvailable"))
			Expect(second.heard()).To(Equal([2]int{0, 0}))
			s.neverReused()

			connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", second.Addr().String())
			Expect(err).NotTo(HaveOccurred())
			Expect(connection.Close()).To(Succeed())
			Eventually(second.heard).Should(Equal([2]int{1, 0}), "it would have been heard")
		},
		Entry("port", func(*stage) string { return "127.0.0.1:0" }),
		Entry("host", func(s *stage) string { return "127.0.0.2:" + strings.Split(s.host(), ":")[1] }),
	)

	It("S12 may send it there once its owner says so, and what comes is sealed for the new place", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		owner := s.bills()
		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Spec.Endpoints.Token = elsewhere(c.Spec.Endpoints.Token) })
		Eventually(authorized(ctx, account)).Should(Equal("False EndpointChanged"))
		change(ctx, owner, func(c *v1alpha1.OAuthClient) {
			c.Annotations = map[string]string{v1alpha1.AnnotationAcceptOrigin: s.provider.URL() + ",https://localhost"}
		})
		s.guarded(ctx, account, "endpoint changed")

		requests := s.provider.TokenRequests()
		obey(ctx, readyMessage(ctx, account))
		Eventually(s.provider.TokenRequests).Should(Equal(requests + 1))
		becomesReady(ctx, account)
		Expect(opened(ctx, account).Origins).To(ConsistOf(strings.Replace(s.provider.URL(), "127.0.0.1", "localhost", 1)))

		By("needing no annotation any more, and refusing the first place now")
		change(ctx, owner, func(c *v1alpha1.OAuthClient) { c.Annotations = nil })
		rotates(ctx, account)
		change(ctx, owner, func(c *v1alpha1.OAuthClient) {
			c.Spec.Endpoints.Token = v1alpha1.Endpoint(s.provider.TokenEndpoint(provider.Smartbills))
		})
		Eventually(authorized(ctx, account)).Should(Equal("False EndpointChanged"))
		s.guarded(ctx, account, "endpoint changed")
		s.neverReused()
	})

	It("S12 seals the answer for the place that the token was sent to, though the client names another by then", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		hold, second := provider.NewHold(), listen(ctx, "127.0.0.1:0")
		Expect(s.provider.Script(billsID, provider.HoldAfterCommit(hold))).To(Succeed())
		pass(ctx, untilDue, account)
		Eventually(hold.Reached()).Should(BeClosed())
		endpoint := s.provider.TokenEndpoint(provider.Smartbills)
		change(ctx, s.bills(), func(c *v1alpha1.OAuthClient) { c.Spec.Endpoints.Token = at(endpoint, second.Addr().String()) })
		before := rotations(ctx, account)()
		hold.Release()
		Eventually(rotations(ctx, account)).Should(Equal(before + 1))
		Eventually(authorized(ctx, account)).Should(Equal("False EndpointChanged"))
		Expect(opened(ctx, account).Origins).To(ConsistOf(s.provider.URL()))
		s.guarded(ctx, account, "endpoint changed")
		Expect(second.heard()).To(Equal([2]int{0, 0}))
	})

	It("S12 with another client identifier: the token is not used by it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		change(ctx, s.bills(), func(c *v1alpha1.OAuthClient) { c.Spec.ClientID = "another" })
		Eventually(authorized(ctx, account)).Should(Equal("False EndpointChanged"))
		Expect(readyMessage(ctx, account)).To(ContainSubstring("client identifier"))
		s.guarded(ctx, account, "endpoint changed")
		change(ctx, s.bills(), func(c *v1alpha1.OAuthClient) { c.Spec.ClientID = billsID })
		becomesReady(ctx, account)
		rotates(ctx, account)
	})

	It("S12 with another client identifier in its Secret: the token is not used by it", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		id := s.credentialSecret("registration")
		id.StringData["client_id"] = billsID
		s.create(ctx, id, s.bills(withRefresh(v1alpha1.RefreshTokens{}), func(c *v1alpha1.OAuthClient) {
			c.Spec.ClientID, c.Spec.ClientIDRef = "", v1alpha1.SecretKeyReference{Name: "registration", Key: "client_id"}
		}))
		account := s.imported(ctx, "a", "bills", billsID)
		s.create(ctx, account)
		becomesReady(ctx, account)
		requests := s.provider.TokenRequests()
		change(ctx, id, func(registration *corev1.Secret) { registration.Data["client_id"] = []byte("another") })
		pass(ctx, untilDue, account)
		Eventually(condition(ctx, account, "Refreshed")).Should(Equal("False RequestRejected"))
		Expect(readyMessage(ctx, account)).To(ContainSubstring("client identifier"))
		Expect(s.provider.TokenRequests()).To(Equal(requests))
		Expect(get(ctx, account.DeepCopy()).Status.Claim).To(BeZero())
		change(ctx, id, func(registration *corev1.Secret) { registration.Data["client_id"] = []byte(billsID) })
		pass(ctx, untilProbed, account)
		Eventually(s.provider.TokenRequests).Should(Equal(requests + 1))
		becomesReady(ctx, account)
	})

	It("S11 by being deleted and made again alike: nobody is asked for anything", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		Expect(suite.admin.Delete(ctx, s.bills())).To(Succeed())
		Eventually(condition(ctx, account, "Ready")).Should(Equal("True ClientNotAvailable"))
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		s.guarded(ctx, account, "client not available")
		s.create(ctx, s.bills(withRefresh(v1alpha1.RefreshTokens{})))
		becomesReady(ctx, account)
		rotates(ctx, account)
		for _, reason := range eventsOf(ctx, account)() {
			Expect(reason).To(Or(Equal("TokenValid"), HavePrefix("Client"), Equal("TokenExpired"), Equal("AuthorizationRequired")))
		}
		s.neverReused()
	})
})

// refuseMark refuses to have a Secret marked as imported.
func refuseMark(namespace string) func(*http.Request) int {
	return func(request *http.Request) int {
		if request.Method == http.MethodPut && strings.HasPrefix(request.URL.Path, fmt.Sprintf("/api/v1/namespaces/%s/secrets/", namespace)) {
			return http.StatusForbidden
		}
		return 0
	}
}
