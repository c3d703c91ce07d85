package controller_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"

	"github.com/oauth-operator/oauth-operator/api/v1alpha1"
	"github.com/oauth-operator/oauth-operator/internal/plugin"
)

// diagnosedFault is a fault as kubectl oauth doctor prints it for programs.
type diagnosedFault struct {
	Level    string   `json:"level"`
	What     string   `json:"what"`
	Message  string   `json:"message"`
	Actor    string   `json:"actor"`
	Commands []string `json:"commands"`
}

// oauth runs kubectl oauth as whoever sits at the terminal, and returns what it prints and its exit code.
func (t *terminal) oauth(ctx context.Context, arguments ...string) (printed, said string, code int) {
	GinkgoHelper()
	var out, errs bytes.Buffer
	kubeconfig := t.environment[slices.IndexFunc(t.environment, func(each string) bool {
		return strings.HasPrefix(each, "KUBECONFIG=") && strings.HasSuffix(each, "/kubeconfig")
	})]
	code = plugin.Run(ctx, append(arguments, "--kubeconfig", strings.TrimPrefix(kubeconfig, "KUBECONFIG="), "-n", t.namespace), plugin.System{
		In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Clock: clock.RealClock{},
	})
	return out.String(), errs.String(), code
}

// diagnosed are the faults that kubectl oauth doctor finds with an account.
func diagnosed(ctx context.Context, at *terminal, account *v1alpha1.ConnectedAccount) []diagnosedFault {
	GinkgoHelper()
	in := *at
	in.namespace = account.Namespace
	printed, said, _ := in.oauth(ctx, "doctor", account.Name, "-o", "json")
	var all struct {
		Sections []struct {
			About    string           `json:"about"`
			Findings []diagnosedFault `json:"findings"`
		} `json:"sections"`
	}
	Expect(json.Unmarshal([]byte(printed), &all)).To(Succeed(), "%s%s", printed, said)
	var faults []diagnosedFault
	for _, section := range all.Sections {
		for _, found := range section.Findings {
			if section.About == "account "+account.Namespace+"/"+account.Name && found.Level == "fault" {
				faults = append(faults, found)
			}
		}
	}
	return faults
}

var _ = Describe("kubectl oauth adopt", func() {
	It("accepts what a guard holds back, and nothing that nobody asks", func(ctx SpecContext) {
		s := newStage(ctx, time.Hour)
		account := s.connected(ctx)
		typing := s.terminal()
		_, said, code := typing.oauth(ctx, "adopt", "a", "--yes")
		Expect(said).To(ContainSubstring("the account asks nothing"))
		Expect(code).To(Equal(plugin.ExitWrong))

		By("moving the token endpoint to another host")
		other := strings.Replace(s.provider.URL(), "127.0.0.1", "localhost", 1)
		change(ctx, s.bills(), func(owner *v1alpha1.OAuthClient) {
			owner.Spec.Endpoints.Token = v1alpha1.Endpoint(strings.Replace(string(owner.Spec.Endpoints.Token), s.provider.URL(), other, 1))
		})
		Eventually(authorized(ctx, account)).Should(Equal("False EndpointChanged"))
		_, said, code = typing.oauth(ctx, "adopt", "a")
		Expect(said).To(And(ContainSubstring("will be sent to "+other), ContainSubstring("say --yes")))
		Expect(code).To(Equal(plugin.ExitUsage))
		Expect(authorized(ctx, account)()).To(Equal("False EndpointChanged"), "nobody has said yes")

		printed, said, code := typing.oauth(ctx, "adopt", "a", "--yes")
		Expect(code).To(Equal(plugin.ExitDone), printed+said)
		Expect(printed).To(ContainSubstring("Accepted"))
		Expect(authorized(ctx, account)()).To(Equal("True Authorized"))
		rotates(ctx, account)
	})
})
